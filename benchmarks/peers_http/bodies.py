"""The bodies that the peers read: the fields of /adapt and /predict, with the types a tutorial would give them."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Refuse unknown fields, as the service does."""

    model_config = ConfigDict(extra="forbid")


class Rows(Body):
    """Rows with a target each."""

    inputs: list[list[float]]
    targets: list[float]


class AdaptBody(Body):
    """What POST /adapt takes."""

    task_id: str | None = None
    model: str | None = None
    support: Rows
    validation: Rows | None = None
    steps: int = 5
    learning_rate: float | None = None
    append: bool = False
    ttl_seconds: int | None = None
    if_revision: int | None = None
    estimate: bool = True


class PredictBody(Body):
    """What POST /predict takes."""

    task_id: str | None = None
    revision: int | None = None
    model: str | None = None
    support: Rows | None = None
    inputs: list[list[float]]
