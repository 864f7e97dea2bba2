"""The card of a model version: what it is, what it takes and gives, how it came about, how good it is."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.episode import OutputKind


class InputCard(BaseModel):
    """Rows that a model takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["vector", "image"]
    shape: tuple[int, ...]
    polarity: str | None = None
    """Of pictures: which tone is 1."""


class OutputCard(BaseModel):
    """What a model gives a row: D numbers, or one of at most N classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: OutputKind
    shape: tuple[int]


class Card(BaseModel):
    """All that is known of a model version beside its weights; enough to build its learner again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    learner: dict[str, Any]
    network: dict[str, Any]
    loss: str
    input: InputCard
    output: OutputCard
    num_train_classes: int
    scales_inputs: bool = False
    """Whether the model centres and divides inputs by what it learned of the training split."""
    scales_targets: bool = False
    """The same for targets; answers are turned back."""
    default_steps: int | None
    """None for learners that take no steps."""
    max_steps: int | None
    provenance: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
