"""Whether requests will be answered: looked at once for all who ask meanwhile, since it writes to the store."""

from collections.abc import Sequence

from app.api.context import Context
from app.api.stages import as_it_is
from innerloop.errors import InnerloopError


async def reasons_against(context: Context) -> list[str]:
    """Return why requests would not be answered, nothing where they will be, as seen after this was asked."""
    reasons: list[str] = await context.looking.run(_look, context, as_it_is)
    return reasons


def _look(contexts: Sequence[Context], quick: bool) -> list[list[str]]:
    return [_reasons(contexts[0])] * len(contexts)


def _reasons(context: Context) -> list[str]:
    reasons = ["the service is draining"] if context.draining else []
    if context.engine.failure:
        return [*reasons, context.engine.failure]
    reasons += [f"the thread of {stage.name} has ended" for stage in context.stages if not stage.is_alive]
    try:
        context.store.check_writable()
        version = context.store.model_version(context.settings.default_model)
        context.engine.model(version.name, version.version)
    except InnerloopError as error:
        reasons.append(error.detail)
    if context.worker and not context.worker.alive and not context.draining:
        reasons.append("the worker of meta-training jobs has ended")
    return reasons
