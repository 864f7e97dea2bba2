"""What the service does with its default model before the first caller comes, whatever kind that is."""

from typing import Any

import pytest
import torch

from app.card import InputCard, OutputCard
from app.engine.engine import Engine
from app.jobs.model_files import model_of, unpacked
from tests.api.test_api_any_ways import LEARNERS, file_of

NUMBERS: dict[str, Any] = {
    "output": OutputCard(kind="regression", shape=(2,)),
    "loss": "squared",
    "calibrated": False,
}
TEXT: dict[str, Any] = {
    "network": {"kind": "embedding", "encoder": "all-MiniLM-L6-v2", "branch": 4},
    "input": InputCard(kind="text", shape=(384,), encoder="all-MiniLM-L6-v2"),
}
PICTURES: dict[str, Any] = {
    "network": {"kind": "resnet12", "filters": [4, 4, 4, 4], "groups": 2, "rare_tone_is_ink": True},
    "input": InputCard(kind="image", shape=(1, 16, 16)),
}
FILES = {
    **{name: (learner, {}) for name, learner in LEARNERS.items()},
    "two classes": ({"kind": "maml", "steps": 2}, {"num_outputs": 2}),
    "memory of numbers": ({"kind": "mann"}, NUMBERS),
    "ridge of numbers": ({"kind": "ridge"}, NUMBERS),
    "kernel of numbers": ({"kind": "kernel"}, NUMBERS),
    "sentences": ({"kind": "kernel"}, TEXT),
    "pictures": ({"kind": "prototypical"}, PICTURES),
}


@pytest.mark.parametrize("which", FILES)
def test_model_of_any_kind_is_warmed_up_and_leaves_no_task(which: str) -> None:
    learner, fields = FILES[which]
    model = model_of(unpacked(file_of(learner, **fields), "warm"))
    before = {name: leaf.clone() for name, leaf in model.meta.trained.items()}
    cpu = torch.device("cpu")
    engine = Engine(cpu, lambda name, version: model, cache_bytes=2**20, model_cache_bytes=2**20, max_depth=8)
    try:
        engine.warm_up(engine.model("warm", 1))
        assert engine.cached_tasks() == []
        assert engine.queue_depth == 0
    finally:
        engine.close()
    assert all(torch.equal(leaf, model.meta.trained[name]) for name, leaf in before.items())
