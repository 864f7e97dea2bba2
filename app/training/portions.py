"""Tasks in portions: what is computed at once must fit into memory, and pictures had better fit into caches."""

import math
from collections.abc import Iterator

from app.episode import Episode, Query, Support

ROWS_AT_ONCE = 5_000
"""Rows of support and query together: the first of four convolutions with 64 filters makes 250 MB of them."""
PIXELS_AT_ONCE = 62_720
"""Of gradient steps on pictures, 80 of 28 x 28: all of 16 tasks with 80 pictures each took conv4 four times as long as
one task after the other, since every one of its maps then went through main memory."""
WORTH_A_THREAD = 8_000_000
"""Rows times parameters of a meta-step, some 3 ms of a core, from which on threads share its tasks."""


def portions(episodes: Episode, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Episode]:
    """Yield the tasks of a batch, in their order, as many at a time as have `rows_at_once` rows; at least one."""
    return parts(episodes, max(1, rows_at_once // _rows_a_task(episodes)))


def parts(episodes: Episode, size: int) -> Iterator[Episode]:
    """Yield the tasks of a batch, in their order, `size` at a time."""
    support, query, class_ids = episodes
    for start in range(0, len(class_ids), size):
        some = slice(start, start + size)
        yield Episode(
            Support(*(leaf[some] for leaf in support)), Query(*(leaf[some] for leaf in query)), class_ids[some]
        )


def cached_size(episodes: Episode) -> int:
    """Return how many tasks gradient steps are best taken on at once: all, unless they are of pictures.

    It divides the number of tasks, so that parts are equal.
    """
    num_tasks = len(episodes.class_ids)
    if not _are_pictures(episodes):
        return num_tasks
    pixels = _rows_a_task(episodes) * math.prod(episodes.support.inputs.shape[2:])
    return _divisor(num_tasks, min(num_tasks, max(1, PIXELS_AT_ONCE // pixels)))


def threaded_size(episodes: Episode, num_parameters: int, threads: int) -> int:
    """Return the same for as many threads, each of which takes parts of its own."""
    num_tasks, size = len(episodes.class_ids), cached_size(episodes)
    pays = _are_pictures(episodes) or num_tasks * _rows_a_task(episodes) * num_parameters >= WORTH_A_THREAD
    return _divisor(num_tasks, min(size, max(1, num_tasks // threads))) if pays else size


def _are_pictures(episodes: Episode) -> bool:
    return episodes.support.inputs.dim() == 5  # tasks, rows, channels, height, width


def _rows_a_task(episodes: Episode) -> int:
    return episodes.support.row_mask.shape[1] + episodes.query.row_mask.shape[1]


def _divisor(number: int, most: int) -> int:
    """Return the largest divisor that is at most `most`."""
    return max(divisor for divisor in range(1, most + 1) if number % divisor == 0)
