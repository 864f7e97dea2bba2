"""The memory: what is read by content, and where it is written."""

import math

import pytest
import torch
from torch import Tensor

from app.learners.memory import LEAST_NORM, USAGE_DECAY, read, unit, write
from tests.learners.answers import close

SLOTS, WIDTH = 4, 3
SHARP = torch.tensor(100.0)


def one_hot(slot: int, size: int = SLOTS) -> Tensor:
    return torch.eye(size)[slot]


def filled() -> Tensor:
    return torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])


@pytest.mark.parametrize("slot", range(SLOTS))
def test_key_finds_the_slot_that_points_its_way(slot: int) -> None:
    found, weights = read(filled(), filled()[slot : slot + 1], SHARP)
    close(weights, one_hot(slot)[None])
    close(found, filled()[slot : slot + 1])


def test_reading_is_a_softmax_over_cosines_by_hand() -> None:
    slots, keys = torch.randn(2, SLOTS, WIDTH, generator=torch.Generator().manual_seed(0))
    keys = keys[:2]
    found, weights = read(slots, keys, torch.tensor(2.0))
    for h in range(2):
        alike = []
        for m in range(SLOTS):
            length = math.sqrt(float(slots[m] @ slots[m]) + LEAST_NORM**2)
            alike.append(math.exp(2.0 * float(keys[h] @ slots[m]) / length))
        close(weights[h], torch.tensor(alike) / sum(alike))
        close(found[h], sum(weights[h, m] * slots[m] for m in range(SLOTS)))


def test_slot_with_a_trace_of_a_key_is_not_taken_for_it() -> None:
    slots = torch.stack([1e-3 * filled()[0], filled()[0]])
    _, weights = read(slots, filled()[:1], SHARP)
    close(weights, torch.tensor([[0.0, 1.0]]))


def test_closed_gate_writes_to_the_least_used_slot_and_empties_it_first() -> None:
    usage, key = torch.tensor([3.0, 0.5, 2.0, 1.0]), torch.tensor([[0.0, 0.6, 0.8]])
    slots, after = write(filled(), usage, key, one_hot(3)[None], torch.zeros(1))
    close(slots, torch.stack([filled()[0], key[0], filled()[2], filled()[3]]))
    close(after, USAGE_DECAY * usage + one_hot(3) + one_hot(1))


def test_open_gate_adds_to_the_slot_that_was_read() -> None:
    usage, key = torch.tensor([3.0, 0.5, 2.0, 1.0]), torch.tensor([[0.0, 0.6, 0.8]])
    slots, after = write(filled(), usage, key, one_hot(3)[None], torch.ones(1))
    close(slots, torch.stack([filled()[0], torch.zeros(WIDTH), filled()[2], filled()[3] + key[0]]))
    close(after, USAGE_DECAY * usage + 2 * one_hot(3))


def test_each_head_has_a_slot_of_its_own() -> None:
    usage, keys = torch.tensor([3.0, 0.5, 2.0, 1.0]), torch.eye(WIDTH)[:2]
    slots, _ = write(torch.zeros(SLOTS, WIDTH), usage, keys, torch.zeros(2, SLOTS), torch.zeros(2))
    close(slots[1], keys[0])
    close(slots[3], keys[1])


@pytest.mark.parametrize("rounding", [0.0, 1e-7, -1e-7])
def test_slots_that_were_never_used_are_taken_in_their_order_whatever_the_rounding(rounding: float) -> None:
    usage = torch.tensor([1.0, 0.25, 0.25 + rounding, 0.25 - rounding])
    slots, _ = write(torch.zeros(SLOTS, WIDTH), usage, torch.eye(WIDTH)[:1], torch.zeros(1, SLOTS), torch.zeros(1))
    assert slots[1].any()


def test_what_was_written_is_found_again_until_the_memory_is_full() -> None:
    slots, usage = torch.zeros(SLOTS, WIDTH), torch.zeros(SLOTS)
    keys = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [-1, 1, 1]]), dim=1
    )
    for s in range(len(keys)):
        _, weights = read(slots, keys[s : s + 1], SHARP)
        slots, usage = write(slots, usage, keys[s : s + 1], weights, torch.zeros(1))
        if s < SLOTS:
            close(read(slots, keys[: s + 1], SHARP)[0], keys[: s + 1], 1e-3)
    kept = (read(slots, keys, SHARP)[0] - keys).norm(dim=1) < 0.01
    assert kept.sum() == SLOTS
    assert kept[-1]


@pytest.mark.parametrize("length", [0.0, 1e-30, 1.0, 1e6])
def test_direction_and_its_gradient_are_finite_for_any_length(length: float) -> None:
    vector = torch.full((WIDTH,), length, requires_grad=True)
    (gradient,) = torch.autograd.grad(unit(vector).sum(), vector)
    assert gradient.isfinite().all()
    assert unit(vector).norm() <= 1.0001
