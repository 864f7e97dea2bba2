"""Memory for bodies while they come: bounded for all callers together, and for each tenant."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from innerloop.errors import Overloaded

FREE_BYTES = 64 * 1024
"""What any body may take: so much of each connection that may be is little."""
RETRY_AFTER_SECONDS = 1.0


class BodyRoom:
    """Counts the bytes of bodies that have begun to come and not ended; the event loop alone uses it."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: Counter[str] = Counter()

    @property
    def num_bytes(self) -> int:
        """Bytes that are held now, but for the first ones of each body."""
        return self._held.total()

    @contextmanager
    def reading(self, tenant: str, *, of_several: bool) -> Iterator[Callable[[int], None]]:
        """Give what is to be told the size that a body has so far; it raises Overloaded where there is no room.

        With `of_several` half of the room is left to other tenants.
        """
        held = 0

        def grow(size: int) -> None:
            nonlocal held
            more = max(0, size - FREE_BYTES) - held
            if more <= 0:
                return
            ours = self._most // 2 if of_several else self._most
            if self.num_bytes + more > self._most or self._held[tenant] + more > ours:
                raise Overloaded(
                    f"{self.num_bytes} bytes of bodies are under way, {self._held[tenant]} of them yours; send this "
                    "one again when others have ended",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            held += more
            self._held[tenant] += more

        try:
            yield grow
        finally:
            self._held[tenant] -= held
            if not self._held[tenant]:
                del self._held[tenant]
