"""Tasks in portions: what is computed for many tasks at once must fit into memory."""

from collections.abc import Iterator

from app.episode import Episode, Query, Support

ROWS_AT_ONCE = 5_000
"""Rows of support and query together: the first of four convolutions with 64 filters makes 250 MB of them."""


def portions(episodes: Episode, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Episode]:
    """Yield the tasks of a batch, in their order, as many at a time as have `rows_at_once` rows; at least one."""
    num_tasks, num_rows = episodes.support.row_mask.shape
    size = max(1, rows_at_once // (num_rows + episodes.query.row_mask.shape[1]))
    for start in range(0, num_tasks, size):
        some = slice(start, start + size)
        support, query, class_ids = episodes
        yield Episode(
            Support(*(leaf[some] for leaf in support)), Query(*(leaf[some] for leaf in query)), class_ids[some]
        )
