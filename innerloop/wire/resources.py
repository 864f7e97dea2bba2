"""Define models, tasks and the pages that list them."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from innerloop.wire.parts import Answer, ClassName, Component, Count, Moment, Request, is_none

Authority = Literal["weights", "rows"]


class InputSchema(Answer):
    """Say what one row of inputs is; `polarity` is there for pictures alone, `encoder` for text.

    Rows of kind `text` are sentences, or the numbers that the encoder makes of them.
    """

    kind: str
    shape: list[int]
    polarity: str | None = Field(None, exclude_if=is_none)
    encoder: str | None = Field(None, exclude_if=is_none)


class OutputSchema(Answer):
    """Say what one row of outputs is; a `shape` of [-1] is one of a task's own classes, however many they are."""

    kind: str
    shape: list[int]


class ModelVersionInfo(Answer):
    """Describe one version of a model: its card, and the bytes of its weights."""

    version: int
    created_at: Moment
    learner: Component
    network: Component
    input: InputSchema
    output: OutputSchema
    default_steps: int | None
    max_steps: int | None
    bytes: int
    sha256: str
    provenance: dict[str, Any]
    metrics: dict[str, Any]


class ModelInfo(Answer):
    """Describe a model; `active_version` is what its bare name means.

    `authority` says what is stored of its tasks' revisions to come: their `weights` beside their rows, or the `rows`
    alone, from which the weights are made again when they are not at hand.
    """

    name: str
    active_version: int | None
    authority: Authority = "weights"
    versions: list[ModelVersionInfo]


class AuthorityRequest(Request):
    """Choose what is stored of revisions made of a model from now on."""

    authority: Authority


class PromoteRequest(Request):
    """Make a version active."""

    version: Count


class TaskInfo(Answer):
    """Describe a task by its latest `revision`; `revisions` counts those that are kept.

    `support_stored` is false where its weights are kept without its rows.
    """

    task_id: str
    model: str
    model_version: int
    revision: int
    revisions: int
    support_size: int
    support_stored: bool = True
    classes: list[ClassName] | None
    bytes: int
    created_at: Moment
    updated_at: Moment
    expires_at: Moment | None


class RevisionInfo(Answer):
    """Describe one revision of a task, which never changes."""

    task_id: str
    revision: int
    model: str
    model_version: int
    steps: int | None
    kept_step: int | None
    support_size: int
    support_stored: bool = True
    classes: list[ClassName] | None
    bytes: int
    created_at: Moment


class StoredRows(Answer):
    """Hold rows as /adapt takes them."""

    inputs: list[Any]
    targets: list[Any]


class SupportAnswer(Answer):
    """Hold the support rows of a revision as /adapt takes them, in the units that they were sent in.

    Pictures are numbers as the network sees them, and sentences what the encoder made of them.
    """

    task_id: str
    revision: int
    model: str
    model_version: int
    classes: list[ClassName] | None
    support: StoredRows


class AuditInfo(Answer):
    """Say what was done to a task, when, with which key, and in which request.

    `action` is one of adapt, append, remove-row, set-ttl, delete, expire, download-support and download-weights, or a
    later release's. `key_id` is None while no key is configured, and of what expired.
    """

    at: Moment
    action: str
    task_id: str
    revision: int | None
    key_id: str | None
    request_id: str | None


Item = TypeVar("Item")


class Page(Answer, Generic[Item]):
    """Hold one page of a list; `next` is the `after` of the page that follows."""

    data: list[Item]
    has_more: bool
    next: str | None
