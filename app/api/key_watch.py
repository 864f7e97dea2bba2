"""Whether keys are configured, known without asking the store each time."""

import time

from app.store import Store

LOOK_EVERY_SECONDS = 1.0
"""The first key, made while the service runs, counts after so long at most; those after it, and revoking, at once."""


class KeyWatch:
    """Remembers whether there ever was a key; once there was one, there is no way back."""

    def __init__(self, *, are_configured: bool) -> None:
        self.are_configured = are_configured
        self._looked = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return not self.are_configured and time.monotonic() - self._looked >= LOOK_EVERY_SECONDS

    def look(self, store: Store) -> bool:
        """Ask the store, and return whether keys are configured; blocks, and raises what the store raises."""
        began = time.monotonic()
        self.are_configured = self.are_configured or store.has_keys()
        self._looked = began
        return self.are_configured
