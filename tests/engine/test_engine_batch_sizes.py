"""How many tasks go together: as many as make each cheaper, found by measuring."""

from app.engine.batch_sizes import MOST_BATCH_SECONDS, MOST_BUCKETS, MOST_TASKS, TRY_AGAIN_EVERY, BatchSizes


def settled(
    seconds_of: dict[int, float] | None = None, *, base: float = 0.0, each: float = 0.0, rounds: int = 200
) -> int:
    """Return how many tasks go together after so many batches of as many as may."""
    sizes = BatchSizes()
    for _ in range(rounds):
        num_tasks = sizes.most("b")
        seconds = base + each * num_tasks if seconds_of is None else seconds_of[num_tasks.bit_length() - 1] * num_tasks
        sizes.note("b", num_tasks, seconds)
    return sizes.most("b")


def test_a_bucket_that_nobody_knows_begins_with_one() -> None:
    assert BatchSizes().most("b") == 1


def test_work_that_gets_cheaper_together_grows_to_the_largest_batch() -> None:
    assert settled(base=2e-3, each=2e-5) == MOST_TASKS


def test_work_that_gets_dearer_together_stays_alone() -> None:
    seconds_a_task = {size: 1e-3 * 2**size for size in range(9)}
    assert settled(seconds_a_task, rounds=199) == 1


def test_the_cheapest_size_between_is_found() -> None:
    seconds_a_task = {0: 4e-4, 1: 2e-4, 2: 1e-4, 3: 3e-4, 4: 9e-4, 5: 3e-3, 6: 9e-3, 7: 3e-2, 8: 9e-2}
    assert 4 <= settled(seconds_a_task, rounds=199) <= 7


def test_no_batch_is_made_to_take_longer_than_others_can_wait() -> None:
    each = 0.02
    assert settled(base=1e-3, each=each) * each <= 2 * MOST_BATCH_SECONDS


def test_one_unlucky_measurement_is_forgotten() -> None:
    sizes = BatchSizes()
    sizes.note("b", 1, 1e-3)
    sizes.note("b", 2, 1.0)
    for _ in range(300):
        num_tasks = sizes.most("b")
        sizes.note("b", num_tasks, 1e-3 + 1e-5 * num_tasks)
    assert sizes.most("b") > 100


def test_after_there_was_no_room_half_as_many_go_together_and_later_all_are_tried_again() -> None:
    sizes = BatchSizes()
    for _ in range(100):
        sizes.note("b", sizes.most("b"), 1e-3)
    assert sizes.most("b") > 64
    sizes.note_no_room("b", 64)
    assert sizes.most("b") == 32
    sizes.note_no_room("b", 32)
    assert sizes.most("b") == 16
    for _ in range(TRY_AGAIN_EVERY):
        sizes.note("b", 16, 1e-3)
    assert sizes.most("b") > 64
    sizes.note_no_room("new", 2)
    assert sizes.most("new") == 1


def test_buckets_are_apart_and_their_number_is_bounded() -> None:
    sizes = BatchSizes()
    for number in range(MOST_BUCKETS + 10):
        sizes.note(number, 1, 1e-3)
    assert sizes.most(0) == 1
    assert sizes.most(MOST_BUCKETS + 9) == 3
