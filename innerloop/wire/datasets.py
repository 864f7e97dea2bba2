"""Define data sets: what an upload says of its file, and what is kept of it."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from innerloop.wire.parts import MAX_INT, Answer, Id, Moment, Request
from innerloop.wire.resources import InputSchema, OutputSchema

_Name = Annotated[str, Field(min_length=1, max_length=200)]
# An HTTP body has no tuples: a list of three, each a share of the whole.
_Fraction = Annotated[float, Field(gt=0, lt=1)]
_Fractions = Annotated[list[_Fraction], Field(min_length=3, max_length=3)]


class SplitSpec(Request):
    """Say how classes or groups are shared out to training, validation and test, once and for all.

    `by` of None is what the kind calls for: classes where rows are labelled, groups where they are grouped.
    """

    by: Literal["class", "group"] | None = Field(None, description="What stays together")
    fractions: _Fractions = Field(default=[0.7, 0.15, 0.15], description="Of training, validation and test; sum 1")
    seed: int = Field(0, ge=0, le=MAX_INT)

    @model_validator(mode="after")
    def _fractions_are_the_whole(self) -> Self:
        if not math.isclose(sum(self.fractions), 1, abs_tol=1e-6):
            raise ValueError(f"fractions of training, validation and test sum to 1; {self.fractions} do not")
        return self


class DatasetSpec(Request):
    """Say what a file holds: rows of classes (`labelled`), or rows of tasks (`grouped`).

    In a table `inputs`, `targets` and `group` name columns; absent inputs are every column but the other two.
    In a file of arrays they name arrays, and default to `inputs`, `targets` and `groups`.
    """

    name: Id
    kind: Literal["labelled", "grouped"]
    inputs: _Name | Annotated[list[_Name], Field(min_length=1)] | None = None
    targets: _Name | Annotated[list[_Name], Field(min_length=1)] | None = None
    group: _Name | None = Field(None, description="Grouped: the task of a row; labelled: its class's super-class")
    order_by: _Name | None = Field(None, description="Of a table: a column of numbers that its rows are sorted by")
    output: Literal["regression", "classification"] | None = Field(None, description="Else what the targets call for")
    picture_size: int | None = Field(28, ge=8, le=256, description="Pixels a side that pictures are scaled to")
    split: SplitSpec = Field(default_factory=SplitSpec)

    @model_validator(mode="after")
    def _kind_allows_the_rest(self) -> Self:
        if self.kind == "labelled" and self.output == "regression":
            raise ValueError("rows of kind labelled have classes; for regression the kind is grouped")
        if self.kind == "grouped" and self.split.by == "class":
            raise ValueError("data of kind grouped is split by group; split.by class is for kind labelled")
        return self


class SplitInfo(Answer):
    """Say how a data set was split; `train`, `validation` and `test` count classes or groups."""

    by: Literal["class", "group"]
    fractions: list[float]
    seed: int
    train: int
    validation: int
    test: int


class DatasetInfo(Answer):
    """Describe a data set; `classes` and `groups` are None where the data has none."""

    name: str
    kind: Literal["labelled", "grouped"]
    rows: int
    classes: int | None
    groups: int | None
    input: InputSchema
    output: OutputSchema
    input_names: list[str] | None
    target_names: list[str] | None
    split: SplitInfo
    bytes: int
    sha256: str
    created_at: Moment
