"""How many tasks to run together, learned from what batches cost: more, while each task gets cheaper by it."""

from collections import OrderedDict
from collections.abc import Hashable

MOST_TASKS = 256
MOST_BATCH_SECONDS = 0.1
"""A batch that is expected to take longer is not made larger: other buckets wait for it."""
RECENT = 0.3
"""The share of a newer, larger measurement in what is remembered."""
TRY_AGAIN_EVERY = 50
"""Batches after which a size that seemed dear is tried again: one measurement may have had bad luck."""
MOST_BUCKETS = 1_000


class BatchSizes:
    """Remembers seconds a task by bucket and size, in powers of two; the caller's thread alone uses it.

    A vmapped MLP gets cheaper with every neighbour. Convolutions whose weights differ by task become grouped
    convolutions, which with many pictures cost more than one task after the other: measured, not guessed.
    """

    def __init__(self) -> None:
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def most(self, bucket: Hashable) -> int:
        """Return how many tasks may go together now."""
        known = self._buckets.get(bucket)
        return known.most() if known else 1

    def seconds(self, bucket: Hashable) -> float | None:
        """Return what one task costs in a batch of the cheapest size; None where nothing is known. Any thread."""
        known = self._buckets.get(bucket)
        return known.least() if known else None

    def note(self, bucket: Hashable, num_tasks: int, seconds: float) -> None:
        """Remember what a batch took."""
        self._at(bucket).note(num_tasks, seconds)

    def note_no_room(self, bucket: Hashable, num_tasks: int) -> None:
        """Remember that the device has no memory for so many: half as many go together for the next batches."""
        self._at(bucket).note_no_room(num_tasks)

    def _at(self, bucket: Hashable) -> "_Bucket":
        known = self._buckets.setdefault(bucket, _Bucket())
        self._buckets.move_to_end(bucket)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return known


class _Bucket:
    def __init__(self) -> None:
        self._seconds_a_task: list[float] = []  # of 1, 2, 4, ... tasks
        self._batches = 0
        self._room = MOST_TASKS
        self._capped_until = 0  # batches

    def most(self) -> int:
        """Return the cheapest size that is known, or twice the largest while sizes still get cheaper."""
        return min(self._cheapest(), self._room if self._batches < self._capped_until else MOST_TASKS)

    def _cheapest(self) -> int:
        if not self._seconds_a_task:
            return 1
        costs = self._seconds_a_task
        best = min(range(len(costs)), key=costs.__getitem__)
        again = self._batches % TRY_AGAIN_EVERY == 0 and best + 1 < len(costs)
        if (best == len(costs) - 1 or again) and 2 ** (best + 2) * costs[best] <= 2 * MOST_BATCH_SECONDS:
            best += 1
        return int(min(MOST_TASKS, 2 ** (best + 1) - 1 if best else 1))

    def note_no_room(self, num_tasks: int) -> None:
        self._room = max(1, num_tasks // 2)
        self._capped_until = self._batches + TRY_AGAIN_EVERY

    def least(self) -> float | None:
        return min(self._seconds_a_task, default=None)

    def note(self, num_tasks: int, seconds: float) -> None:
        size = num_tasks.bit_length() - 1
        each = seconds / num_tasks
        self._batches += 1
        if size >= len(self._seconds_a_task):
            # Sizes that were jumped over are taken for as dear as this one.
            self._seconds_a_task += [each] * (size + 1 - len(self._seconds_a_task))
            return
        before = self._seconds_a_task[size]
        # What is measured is too much, if it is wrong: others run on the machine too.
        self._seconds_a_task[size] = each if each < before else before + RECENT * (each - before)
