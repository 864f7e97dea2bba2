"""Define the requests and answers of /adapt and /predict."""

from typing import Literal, Self

from pydantic import Field, model_validator

from innerloop.wire.parts import (
    MAX_INT,
    Answer,
    ClassName,
    Id,
    Inputs,
    ModelReference,
    Moment,
    Rate,
    Request,
    Revision,
    Targets,
    is_none,
)

# A hundred years; what is to live longer has no end at all (null).
_MAX_TTL_SECONDS = 100 * 365 * 86_400


class SupportRows(Request):
    """Hold the rows to adapt on."""

    inputs: Inputs
    targets: Targets


class ValidationRows(Request):
    """Hold the rows that measure the adaptation and take no part in it."""

    inputs: Inputs
    targets: Targets


class AdaptSettings(Request):
    """Say how to adapt; what is absent is the model's default."""

    steps: int | None = Field(None, ge=0, le=MAX_INT, description="0 is the initialisation itself")
    learning_rate: Rate | None = None
    learning_rate_scale: Rate | None = Field(None, description="Multiplies the rates of the model")
    on_divergence: Literal["error", "best"] = "error"


class AdaptRequest(AdaptSettings):
    """Adapt a model to a support set and keep the result as a task's new revision.

    An absent `ttl_seconds` keeps the task's; null is for ever: tell them apart by `model_fields_set`.
    """

    task_id: Id | None = None
    model: ModelReference | None = None
    support: SupportRows
    validation: ValidationRows | None = None
    append: bool = False
    ttl_seconds: int | None = Field(None, ge=1, le=_MAX_TTL_SECONDS)
    if_revision: int | None = Field(None, ge=0, le=MAX_INT, description="0: the task must not exist yet")
    estimate: bool = Field(True, description="Cross-validate the support rows, which adapts again for each fold")
    store_support: bool = Field(True, description="Keep the rows; false keeps the adapted weights alone")


class PredictRequest(AdaptSettings):
    """Predict with a task, or adapt and predict in one go with nothing stored.

    With `task_id` nothing but `revision`, `inputs` and `abstain_below` may be named; without it, `support` is required.
    """

    task_id: Id | None = None
    revision: Revision | None = None
    model: ModelReference | None = None
    support: SupportRows | None = None
    inputs: Inputs
    abstain_below: float | None = Field(
        None, ge=0, le=1, description="Classification: a row whose largest probability is below it gets the label null"
    )

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if self.task_id is None:
            if self.support is None:
                raise ValueError("name a task_id, or send a support to adapt on")
            if self.revision is not None:
                raise ValueError("revision belongs to a task_id")
            return self
        stateless = ("model", "support", *AdaptSettings.model_fields)
        extra = [name for name in stateless if name in self.model_fields_set and getattr(self, name) is not None]
        if extra:
            raise ValueError(f"{', '.join(extra)} cannot stand beside task_id: the task has them already")
        return self


class TimingMs(Answer):
    """Say where the time went, in milliseconds."""

    queue: float
    compute: float
    total: float


class Score(Answer):
    """Score predictions; `accuracy` is there for classification alone."""

    loss: float | None
    accuracy: float | None = Field(None, exclude_if=is_none)


class Validation(Answer):
    """Score the validation rows; `before` is None where there is no answer before adaptation."""

    before: Score | None
    after: Score


class Estimate(Answer):
    """Say what the task is worth on rows that it has not seen, by cross-validation on its support.

    Each of the `rows` is judged by a task adapted without it, `folds` of them in all; a class's only row is not
    judged. `accuracy` is there for classification, `error` for regression: the mean squared error in the caller's
    units. A fold has fewer rows than the task, so that the task itself is rather a little better. Rows that stand in
    the support more than once vouch for each other and make it too good.
    """

    method: Literal["leave_one_out", "k_fold"]
    folds: int
    rows: int
    accuracy: float | None = Field(None, exclude_if=is_none)
    error: float | None = Field(None, exclude_if=is_none)
    loss: float


class Familiarity(Answer):
    """Say where the support's losses lie among those of tasks like the trained ones, from 0 (easier than all) to 1.

    Near 1 is unlike anything that the model was trained on; a small number is no trouble. `before` is None for models
    that take no steps, `after` where no step was taken or the model has no references of this number of steps.
    """

    before: float | None
    after: float | None


class AdaptAnswer(Answer):
    """Say what adaptation did; `classes` is None for regression.

    `estimate` is None where it was turned off or cannot be had: a single row, one row of each class, or a fold that
    diverged. `familiarity` is None for models without references. `support_stored` says whether the rows are kept.
    """

    task_id: str
    revision: int
    model: str
    model_version: int
    steps: int | None
    kept_step: int | None
    support_size: int
    classes: list[ClassName] | None
    support_loss: list[float | None]
    validation: Validation | None
    estimate: Estimate | None = None
    familiarity: Familiarity | None = None
    support_stored: bool = True
    cached: bool
    expires_at: Moment | None
    timing_ms: TimingMs


class PredictAnswer(Answer):
    """Hold one prediction a row: `outputs` [Q][D], or `labels`, `probabilities` [Q][N] and `classes`.

    The other kind's fields are None, and left out of the JSON. A label is None where `abstain_below` asked for that.
    """

    task_id: str | None
    revision: int | None
    model: str
    model_version: int
    outputs: list[list[float]] | None = Field(None, exclude_if=is_none)
    labels: list[ClassName | None] | None = Field(None, exclude_if=is_none)
    probabilities: list[list[float]] | None = Field(None, exclude_if=is_none)
    classes: list[ClassName] | None = Field(None, exclude_if=is_none)
    timing_ms: TimingMs
