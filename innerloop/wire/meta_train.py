"""Define the request of /meta-train."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from innerloop.wire.parts import MAX_INT, Component, Count, Id, Rate, Request


def _ordered(value: int | list[int]) -> int | list[int]:
    if isinstance(value, list) and value[0] > value[1]:
        raise ValueError(f"a range is [low, high]; {value} is the wrong way round")
    return value


CountOrRange = Annotated[
    Count | Annotated[list[Count], Field(min_length=2, max_length=2)],
    AfterValidator(_ordered),
    Field(description="A number, or a range [low, high] from which each meta-batch draws one"),
]
LabelNoise = Annotated[float, Field(ge=0, le=0.9)]


_SCALING = Field(True, description="Standardise numbers by the training split's mean and deviation; pictures never")


class BuiltInTasks(Request):
    """Draw tasks from a built-in distribution, such as `sinusoid`."""

    kind: str
    shots: Count = 10
    queries: Count = 10
    ways: Count | None = Field(None, description="For distributions of classification tasks")


class LabelledTasks(Request):
    """Draw tasks of `ways` classes from a labelled data set; shots and queries count rows a class."""

    kind: Literal["labelled"]
    dataset: Id
    ways: Count = 5
    shots: CountOrRange = 1
    queries: Count = 15  # as Finn et al. 2017, section 5.2, after Vinyals et al. 2016
    rotations: bool = Field(False, description="A class turned by 90, 180 or 270 degrees is another class")
    reflections: bool = Field(False, description="A class seen in a mirror is another class")
    training_ways: CountOrRange | None = Field(
        None,
        description="Ways of training episodes, where other than `ways`: a number, or a range [low, high] from which "
        "each meta-batch draws one, for learners that take any ways",
    )
    distortion: float = Field(0.0, ge=0, le=0.5, description="Largest random affine change of a training picture")
    training_queries: Count | None = Field(None, description="Queries a class in training, where others")
    label_noise: LabelNoise = Field(0.0, description="Share of a training episode's support labels that are made wrong")
    evaluation_label_noise: LabelNoise = Field(0.0, description="The same of validation and test episodes")
    scaling: bool = _SCALING


class GroupedTasks(Request):
    """Take each group of a grouped data set as a task; shots and queries count rows a task."""

    kind: Literal["grouped"]
    dataset: Id
    shots: CountOrRange = 10
    queries: Count = 10
    order: Literal["random", "first"] = Field("random", description="`first`: the support comes before the queries")
    scaling: bool = _SCALING


def _form_of_tasks(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in ("labelled", "grouped") else "built-in"


Tasks = Annotated[
    Annotated[BuiltInTasks, Tag("built-in")]
    | Annotated[LabelledTasks, Tag("labelled")]
    | Annotated[GroupedTasks, Tag("grouped")],
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
    compile: Literal["auto", "never", "always"] = Field(
        "auto", description="Whether steps are compiled after the first ones: `auto`, where there are many"
    )
    seed: int = Field(0, ge=0, le=MAX_INT)
    promote: Literal["if_better", "always", "never"] = "if_better"
