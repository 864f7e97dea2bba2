"""The card of a model version: what it is, what it takes and gives, how it came about, how good it is."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.episode import OutputKind


class InputCard(BaseModel):
    """Rows that a model takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["vector", "image", "text"]
    shape: tuple[int, ...]
    polarity: str | None = None
    """Of pictures: which tone is 1."""
    encoder: str | None = Field(None, exclude_if=lambda encoder: encoder is None)
    """Of text: what turns a sentence into numbers of `shape`."""


ANY_WAYS = -1
"""The length of an output whose classes are a task's own, however many; as a dimension that varies is written in the
Open Inference Protocol."""


class OutputCard(BaseModel):
    """What a model gives a row: D numbers, one of at most N classes, or one of a task's classes (ANY_WAYS)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: OutputKind
    shape: tuple[int]


def _ascending(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    if any(low > high for low, high in itertools.pairwise(quantiles)):
        raise ValueError("quantiles ascend")
    return quantiles


Quantiles = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...],
    Field(min_length=2, max_length=101),
    AfterValidator(_ascending),
]
"""Of a loss over tasks, from the least to the largest, at equal distances of probability."""


class Reference(BaseModel):
    """What support losses are on tasks of one size that are like those of training: familiarity is read off here."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ways: Annotated[int, Field(ge=1)] | None
    """Classes of a task; None for regression."""
    rows: Annotated[int, Field(ge=1)]
    """Rows of its support, of all classes together."""
    loss_by_step: dict[str, Quantiles]
    """By the number of steps, as in a trace; "0" alone for learners that take none."""


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
    calibrated: bool = False
    """Whether the logits are divided by a temperature that was fitted on validation tasks."""
    default_steps: int | None
    """None for learners that take no steps."""
    max_steps: int | None
    familiarity: Annotated[tuple[Reference, ...], Field(max_length=200)] = ()
    """Of validation tasks; empty for models whose references were never made."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)

    @property
    def num_outputs(self) -> int:
        """Outputs that a network of this card is built with; 1 stands in where the head is made by the task."""
        return 1 if self.output.shape[0] == ANY_WAYS else self.output.shape[0]

    def num_classes(self, of_task: int) -> int:
        """Return the length of the class mask of a task with `of_task` classes."""
        return of_task if self.output.shape[0] == ANY_WAYS else self.output.shape[0]
