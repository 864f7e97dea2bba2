"""A few numbers as they came out once, so that no change of them goes unseen.

Made with torch 2.13.0 on x86-64. To make them anew, run this file and copy what the failing assertions found; say in
the commit why they moved.
"""

import pytest
import torch

from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.task_distributions.registry import build_distribution
from app.training.meta_step import meta_gradient

TOLERANCE = 1e-4
"""Relative; far above what another processor's order of summing moves, far below what a wrong sign would."""


@pytest.mark.parametrize(
    ("options", "meta_loss", "gradient_norm"),
    [
        ({"kind": "maml"}, 24.340147, 300.31888),
        ({"kind": "maml", "first_order": True}, 24.340147, 84.952385),
        ({"kind": "maml", "rates": "per_tensor"}, 24.340147, 3679.7393),
        ({"kind": "anil"}, 12.139902, 144.34630),
        ({"kind": "pretrained"}, 4.8299375, 29.805254),
    ],
    ids=str,
)
def test_first_meta_step_on_the_sinusoid(options: dict[str, object], meta_loss: float, gradient_norm: float) -> None:
    generator = torch.Generator().manual_seed(0)
    learner = build_learner(options, build_network({"kind": "mlp"}, (1,), 1), "squared", 0)
    meta = learner.init(generator)
    episodes = build_distribution({"kind": "sinusoid"}, "train", {}).sample(generator, 25)
    gradient, metrics = meta_gradient(learner, meta, episodes, learner.traits.steps, torch.tensor(0.0))
    norm = torch.stack([leaf.square().sum() for leaf in gradient.values()]).sum().sqrt()
    assert (float(metrics["meta_loss"]), float(norm)) == pytest.approx((meta_loss, gradient_norm), rel=TOLERANCE)
