"""Define the types and base classes that requests and answers share."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

# 2**63 - 1: the largest integer that a database column holds.
MAX_INT = 9_223_372_036_854_775_807

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ModelReference = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}(@[1-9][0-9]{0,8})?$",
        description="`name` (its active version) or `name@version`",
    ),
]
Rate = Annotated[float, Field(gt=0)]
Revision = Annotated[int, Field(ge=1, le=MAX_INT)]
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
ClassName = str | int

_ROW_SCHEMA = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "array", "items": {}}]}}
Inputs = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "description": "One entry a row: nested lists of the model's input shape, in raw units. "
            "Picture models also take base64 PNG or JPEG files, text models sentences.",
            "items": {"anyOf": [_ROW_SCHEMA, {"type": "string"}]},
        }
    ),
]
Targets = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "description": "One entry a row. Regression: a number, or a list of numbers for several outputs. "
            "Classification: class names, all strings or all integers.",
            "items": {
                "anyOf": [
                    {"type": "number"},
                    {"type": "string"},
                    {"type": "array", "items": {"type": "number"}},
                ]
            },
        }
    ),
]


def utc_text(moment: datetime) -> str:
    """Return a moment as answers show it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Moment = Annotated[
    AwareDatetime,
    PlainSerializer(utc_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def is_none(value: object) -> bool:
    """Tell whether a field is absent, for `exclude_if`."""
    return value is None


class Request(BaseModel):
    """Refuse unknown fields, loose types and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Answer(BaseModel):
    """Ignore fields that a later release added."""

    model_config = ConfigDict(extra="ignore")


class Component(BaseModel):
    """Name a learner or a network: its kind, beside that kind's own options."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    kind: str
