"""Define the request of /meta-train."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from innerloop.wire.parts import MAX_INT, Component, Count, Id, Rate, Request


class BuiltInTasks(Request):
    """Draw tasks from a built-in distribution, such as `sinusoid`."""

    kind: str
    shots: Count = 10
    queries: Count = 10
    ways: Count | None = Field(None, description="For distributions of classification tasks")


class LabelledTasks(Request):
    """Draw tasks of `ways` classes from a labelled data set; shots and queries count rows a class."""

    kind: Literal["labelled"]
    dataset: str
    ways: Count = 5
    shots: Count | Annotated[list[Count], Field(min_length=2, max_length=2)] = Field(
        1, description="A number, or a range [low, high] from which each meta-batch draws one"
    )
    queries: Count = 15  # as Finn et al. 2017, section 5.2, after Vinyals et al. 2016
    rotations: bool = Field(False, description="A class turned by 90, 180 or 270 degrees is another class")
    training_ways: Count | None = Field(None, description="Ways of training episodes, where other than `ways`")
    distortion: float = Field(0.0, ge=0, le=0.5, description="Largest random affine change of a training picture")
    training_queries: Count | None = Field(None, description="Queries a class in training, where others")

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if isinstance(self.shots, list) and self.shots[0] > self.shots[1]:
            raise ValueError(f"shots is a range [low, high]; {self.shots} is the wrong way round")
        return self


def _form_of_tasks(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "labelled" if kind == "labelled" else "built-in"


Tasks = Annotated[
    Annotated[BuiltInTasks, Tag("built-in")] | Annotated[LabelledTasks, Tag("labelled")],
    Discriminator(_form_of_tasks),
]


class MetaTrainRequest(Request):
    """Meta-train an initialisation; a `loss` of None is what the targets call for."""

    name: Id
    learner: Component
    network: Component
    tasks: Tasks
    loss: str | None = None
    iterations: Count = 20_000
    meta_batch_size: Count = 25
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    meta_learning_rate: Rate = 0.001
    learning_rate_schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: Rate | None = 10.0
    validate_every: Count = 500
    patience: Count | None = Field(None, description="Validations without gain before it stops")
    seed: int = Field(0, ge=0, le=MAX_INT)
    promote: Literal["if_better", "always", "never"] = "if_better"
