"""Which model and which settings a request asks for, held against its card and the limits."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from app.api.codec import Schema
from app.api.context import Context
from app.api.model_names import Wanted, public_name, told_by_public_name
from app.api.numbers import Array
from app.engine.executor import AdaptWork
from app.episode import Support
from app.learners.model import Model
from app.store import ActiveVersion
from innerloop.errors import SettingNotSupported, SettingOutOfRange, StepsOverLimit
from innerloop.wire import AdaptSettings


class ChosenModel(NamedTuple):
    """One version of a model, loaded."""

    name: str
    """As it is stored."""
    version: int
    model: Model
    schema: Schema


class ChosenSettings(NamedTuple):
    """How to adapt; equal settings give equal parameters."""

    steps: int
    """0 for learners that take none."""
    rate_scale: float

    def as_json(self) -> dict[str, float]:
        """Return the form that is stored with a revision."""
        return {"steps": self.steps, "rate_scale": self.rate_scale}


class ActiveVersions:
    """Active versions of models, read at once for all requests that ask."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._names: set[str] = set()
        self._versions: dict[str, ActiveVersion | None] | None = None

    def will_be_asked(self, wanted: Wanted) -> None:
        """Note that a model will be looked for."""
        self._names.update(wanted.names)

    def found(self, wanted: Wanted) -> str:
        """Return which of its names a model that is wanted has, the last where none is there. Blocks."""
        if len(wanted.names) == 1:
            return wanted.names[0]
        return next((name for name in wanted.names if name in self._all()), wanted.names[-1])

    def of(self, name: str) -> ActiveVersion:
        """Return a model's active version; ModelNotFound. Blocks."""
        active = self._all().get(name)
        while active is None:
            with told_by_public_name(name):
                self._store.model_version(name)  # tells what there is, or there is one by now
            active = self._store.active_versions([name]).get(name)
            self._all()[name] = active
        return active

    def _all(self) -> dict[str, ActiveVersion | None]:
        if self._versions is None:
            self._versions = self._store.active_versions([*self._names])
        return self._versions


def chosen_model(context: Context, wanted: Wanted, deadline: float | None, active: ActiveVersions) -> ChosenModel:
    """Return the model that is wanted; ModelNotFound, VersionNotFound. Blocks."""
    name = active.found(wanted)
    return loaded_model(context, name, wanted.version or active.of(name).version, deadline)


def loaded_model(context: Context, name: str, version: int, deadline: float | None) -> ChosenModel:
    """Return a version of a model by its stored name; ModelNotFound, VersionNotFound. Blocks.

    `deadline` is that of reading sentences.
    """
    with told_by_public_name(name):
        model = context.engine.model(name, version)

    def encode(texts: Sequence[str], places: Sequence[str]) -> Array:
        encoded_RD: Array = context.engine.text_embeddings(
            model.card.input.encoder or "", texts, places, deadline
        ).numpy()
        return encoded_RD

    return ChosenModel(
        name, version, model, Schema(model.card, f"{public_name(name)}@{version}", context.limits, encode)
    )


def chosen_settings(request: AdaptSettings, chosen: ChosenModel) -> ChosenSettings:
    """Return the request's settings, the card's where it names none.

    Raises StepsOverLimit, SettingOutOfRange, and SettingNotSupported for what the learner does not have.
    """
    return ChosenSettings(_steps(request, chosen), _rate_scale(request, chosen))


def adapt_work(chosen: ChosenModel, support: Support, settings: ChosenSettings, request: AdaptSettings) -> AdaptWork:
    """Return what the engine is asked to do."""
    keep_best = request.on_divergence == "best"
    return AdaptWork(chosen.model, support, settings.steps, settings.rate_scale, keep_best)


def _steps(request: AdaptSettings, chosen: ChosenModel) -> int:
    card, limits = chosen.schema.card, chosen.schema.limits
    if card.default_steps is None or card.max_steps is None:
        if request.steps is not None:
            raise SettingNotSupported(f"{chosen.schema.model} takes no gradient steps; leave steps out")
        return 0
    if request.steps is None:
        return min(card.default_steps, limits.max_steps)
    most = min(card.max_steps, limits.max_steps)
    if request.steps > most:
        raise StepsOverLimit(f"steps is {request.steps}; {chosen.schema.model} takes at most {most}")
    return request.steps


def _rate_scale(request: AdaptSettings, chosen: ChosenModel) -> float:
    traits, limits, model = chosen.model.learner.traits, chosen.schema.limits, chosen.schema.model
    if request.learning_rate is None and request.learning_rate_scale is None:
        return 1.0
    if not traits.takes_steps:
        raise SettingNotSupported(f"{model} takes no gradient steps and so has no rate")
    if request.learning_rate is None:
        return _within("learning_rate_scale", request.learning_rate_scale or 1.0, limits.max_learning_rate_scale)
    if request.learning_rate_scale is not None:
        raise SettingOutOfRange("learning_rate and learning_rate_scale exclude each other; name one")
    if traits.learning_rate is None:
        raise SettingNotSupported(f"the rates of {model} are learned; learning_rate_scale multiplies them")
    return _within("learning_rate", request.learning_rate, limits.max_learning_rate) / traits.learning_rate


def _within(field: str, value: float, most: float) -> float:
    if value > most:
        raise SettingOutOfRange(f"{field} is {value:g}; at most {most:g} (max_{field} in GET /limits)")
    return value


def holds_strings(inputs: Any) -> bool:
    """Tell whether rows are pictures as files, or sentences: reading them takes longer than all else."""
    return isinstance(inputs, list) and any(isinstance(row, str) for row in inputs)
