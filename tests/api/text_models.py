"""A model over sentence embeddings, untrained: its prototypes are those of the encoder."""

import torch

from app.card import ANY_WAYS, Card, InputCard, OutputCard
from app.jobs.model_files import ModelFiles
from app.learners.model import as_tree, learner_of
from app.text.packaged import MINILM
from app.trees import to_bytes


def text_model(encoder: str | None = MINILM) -> bytes:
    """Return the file of a model of prototypes; without an encoder it is one over vectors."""
    card = Card(
        name="sentences",
        learner={"kind": "prototypical"},
        network={"kind": "embedding", "encoder": encoder},
        loss="cross_entropy",
        input=InputCard(kind="text" if encoder else "vector", shape=(384,), encoder=encoder),
        output=OutputCard(kind="classification", shape=(ANY_WAYS,)),
        num_train_classes=2,
        default_steps=None,
        max_steps=None,
    )
    init = learner_of(card).init(torch.Generator().manual_seed(0))
    return ModelFiles(card, to_bytes(as_tree(init))).packed()
