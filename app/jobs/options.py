"""How a worker works: its clockwork, its device and its patience."""

from dataclasses import dataclass
from pathlib import Path

from innerloop.wire import Limits


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works."""

    heartbeat_seconds: float
    """A job of a worker that died goes on elsewhere within three of these."""
    device: str
    limits: Limits
    max_crashes: int
    """Ends of a child without any progress after which a job is failed."""
    stop_seconds: float = 10.0
    """How long a child may take to write its last checkpoint when it is told to stop."""

    programs: Path | None = None
    """Folder of what is compiled for training; None: every step is eager."""

    silence_seconds: float = 1800.0
    """How long a child may say nothing, in one iteration or while it makes its card, before it is taken for hung."""

    @property
    def lease_seconds(self) -> float:
        """How long a job stays with a worker that says nothing."""
        return 2.0 * self.heartbeat_seconds

    @property
    def poll_seconds(self) -> float:
        """Time between two renewals of a lease, and between two looks at the queue."""
        return 0.5 * self.heartbeat_seconds
