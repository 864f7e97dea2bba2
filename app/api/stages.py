"""The stages that requests pass together: whoever waits for one goes with the others, one thread a stage."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from anyio import to_thread

from app.engine.batcher import Batcher

Result = TypeVar("Result")

LARGE_BODY_BYTES = 64 * 1024
"""Bodies beyond are read in a thread of their own: everybody else's wait would be longer than what sharing saves."""
MOST_TOGETHER = 64


class TooSlow(Exception):
    """A request would hold up the stage: it goes to a thread of its own."""


RunMany = Callable[[Sequence[Any], bool], Sequence[Any]]
"""(items, quick) -> a result or an error for each; TooSlow, where `quick` is asked for, for what takes long."""


class Stage:
    """Runs pieces of one kind together; what takes long runs beside it."""

    def __init__(self, name: str, max_depth: int) -> None:
        self._batcher: Batcher[Any, Any] = Batcher(
            name, _run_quickly, max_depth=max_depth, most=lambda bucket: MOST_TOGETHER
        )

    async def run(self, run_many: RunMany, item: Any, *, is_large: bool = False) -> Any:
        """Return what `run_many` gives for `item`, or raise its error; `run_many` must be the same object each time."""
        if not is_large:
            try:
                return (await self._batcher.run(run_many, item)).result
            except TooSlow:
                pass
        (outcome,) = await to_thread.run_sync(run_many, [item], False)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Take no more and wait for what was taken; blocks."""
        self._batcher.close()


def _run_quickly(run_many: Any, items: Sequence[Any]) -> Sequence[Any]:
    outcomes: Sequence[Any] = run_many(items, True)
    return outcomes


def attempted(work: Callable[..., Result], *arguments: Any) -> Result | Exception:
    """Return what `work` gives, or its error: that of one request is not its neighbours'."""
    try:
        return work(*arguments)
    except Exception as error:  # noqa: BLE001 -- its caller is told
        return error
