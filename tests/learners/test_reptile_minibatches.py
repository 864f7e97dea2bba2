"""How Reptile deals an episode's rows to mini-batches."""

import pytest
import torch
from torch import Tensor

from app.episode import Episode, Query, Support
from app.learners.reptile import minibatches
from tests.learners.answers import equal_to_the_bit, mapped

WAYS, SHOTS, QUERIES = 5, 3, 1
BY_CLASS = torch.arange(WAYS).repeat_interleave(SHOTS)
IN_TURN = torch.arange(WAYS).repeat(SHOTS)


def classes(targets: Tensor) -> Episode:
    """Return a task whose rows are numbered through, support before query."""
    rows = torch.arange(len(targets) + WAYS * QUERIES, dtype=torch.float32)[:, None]
    mask = torch.ones(len(rows), dtype=torch.bool)
    support, query = slice(len(targets)), slice(len(targets), None)
    every = torch.ones(WAYS, dtype=torch.bool)
    return Episode(
        Support(rows[support], targets, mask[support], every),
        Query(rows[query], torch.arange(WAYS).repeat(QUERIES), mask[query]),
        torch.arange(WAYS),
    )


@pytest.mark.parametrize("num_batches", [1, 2, 4, 100])
def test_every_row_is_in_one_minibatch(num_batches: int) -> None:
    episode = classes(BY_CLASS)
    batches = minibatches(episode, num_batches)
    num_rows = WAYS * (SHOTS + QUERIES)
    assert len(batches) == min(num_batches, num_rows)
    assert sorted(torch.cat([batch.inputs[:, 0] for batch in batches]).tolist()) == list(range(num_rows))
    targets = torch.cat([episode.support.targets, episode.query.targets])
    assert all(torch.equal(targets[batch.inputs[:, 0].long()], batch.targets) for batch in batches)


@pytest.mark.parametrize("targets", [BY_CLASS, IN_TURN], ids=["by class", "in turn"])
@pytest.mark.parametrize("num_batches", [1, 2, 4])
def test_classes_have_equal_shares_however_the_rows_are_ordered(targets: Tensor, num_batches: int) -> None:
    for batch in minibatches(classes(targets), num_batches):
        counts = torch.bincount(batch.targets, minlength=WAYS)
        assert (counts == (SHOTS + QUERIES) // num_batches).all()


def test_padding_moves_no_row_to_another_minibatch() -> None:
    episode = classes(BY_CLASS)
    support = mapped(lambda leaf: torch.cat([torch.zeros_like(leaf[:1]), leaf]), episode.support)
    padded = episode._replace(support=support._replace(class_mask=episode.support.class_mask))
    for batch, expected in zip(minibatches(padded, 4), minibatches(episode, 4), strict=True):
        equal_to_the_bit(batch.inputs[batch.row_mask], expected.inputs)


def test_rows_of_numbers_keep_their_order() -> None:
    x, mask = torch.arange(6.0)[:, None], torch.ones(6, dtype=torch.bool)
    none = torch.zeros(0)
    episode = Episode(Support(x[:4], x[:4], mask[:4], none.bool()), Query(x[4:], x[4:], mask[4:]), none.long())
    assert [batch.inputs[:, 0].tolist() for batch in minibatches(episode, 2)] == [[0, 2, 4], [1, 3, 5]]
