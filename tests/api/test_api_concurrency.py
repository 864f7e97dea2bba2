"""Claims about many callers at once: no revision is lost, doubled or mixed up."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from uuid import uuid4

import httpx
import pytest

from innerloop.wire import AdaptAnswer, Page, PredictAnswer, RevisionInfo
from tests.api.asking import adapt, close, outputs, predict, problem_of, sine

CALLERS, ON_ONE_TASK = 32, 16
QUERY = [[-3.0], [0.5], [2.5]]


def test_callers_on_tasks_of_their_own_do_not_meet(http: httpx.Client) -> None:
    names = [f"own-{uuid4().hex}" for _ in range(CALLERS)]
    supports = [sine(3 + i % 5, amplitude=1 + i / 10, phase=i / 8) for i in range(CALLERS)]

    def call(i: int) -> list[list[float]]:
        first = adapt(http, task_id=names[i], support=supports[i])
        second = adapt(http, task_id=names[i], support=sine(2), append=True)
        assert (first.revision, second.revision) == (1, 2)
        return outputs(http, task_id=names[i], revision=1, inputs=QUERY)

    with ThreadPoolExecutor(CALLERS) as threads:
        at_once = list(threads.map(call, range(CALLERS)))
    for name, support, found in zip(names, supports, at_once, strict=True):
        assert close(found, outputs(http, support=support, inputs=QUERY))
        assert http.get(f"/tasks/{name}").json()["revision"] == 2


def _adapt_at_once(http: httpx.Client, task_id: str, append: bool = False) -> list[AdaptAnswer]:
    with ThreadPoolExecutor(ON_ONE_TASK) as threads:
        futures = [
            threads.submit(adapt, http, task_id=task_id, support=sine(2 + i, phase=i / 5), append=append)
            for i in range(ON_ONE_TASK)
        ]
        return [future.result() for future in futures]


def test_callers_on_one_task_get_a_revision_each(http: httpx.Client, task_id: str) -> None:
    answers = _adapt_at_once(http, task_id)
    assert sorted(answer.revision for answer in answers) == list(range(1, ON_ONE_TASK + 1))
    page = Page[RevisionInfo].model_validate_json(http.get(f"/tasks/{task_id}/revisions").content)
    stored = {revision.revision: revision for revision in page.data}
    assert stored.keys() == {answer.revision for answer in answers}
    for i, answer in enumerate(answers):
        assert answer.support_size == stored[answer.revision].support_size == 2 + i
        by_revision = outputs(http, task_id=task_id, revision=answer.revision, inputs=QUERY)
        assert close(by_revision, outputs(http, support=sine(2 + i, phase=i / 5), inputs=QUERY))


def test_rows_appended_at_once_are_all_there(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(1))
    answers = sorted(_adapt_at_once(http, task_id, append=True), key=lambda answer: answer.revision)
    assert [answer.revision for answer in answers] == list(range(2, ON_ONE_TASK + 2))
    sizes = [1, *(answer.support_size for answer in answers)]
    added = sorted(after - before for before, after in pairwise(sizes))
    assert added == list(range(2, ON_ONE_TASK + 2))


def test_of_equal_requests_at_once_one_computes(http: httpx.Client, task_id: str) -> None:
    with ThreadPoolExecutor(ON_ONE_TASK) as threads:
        body = {"task_id": task_id, "support": sine(5)}
        answers = list(threads.map(lambda _: http.post("/adapt", json=body), range(ON_ONE_TASK)))
    assert sorted(answer.status_code for answer in answers) == [200] * (ON_ONE_TASK - 1) + [201]
    assert {answer.json()["revision"] for answer in answers} == {1}


def test_of_callers_with_one_if_revision_one_wins(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    with ThreadPoolExecutor(ON_ONE_TASK) as threads:
        bodies = [{"task_id": task_id, "support": sine(6 + i), "if_revision": 1} for i in range(ON_ONE_TASK)]
        answers = list(threads.map(lambda body: http.post("/adapt", json=body), bodies))
    won = [answer for answer in answers if answer.status_code == 201]
    assert [answer.json()["revision"] for answer in won] == [2]
    for answer in answers:
        if answer.status_code != 201:
            problem_of(answer, 409, "revision-conflict")


def test_a_prediction_while_its_task_is_adapted_is_that_of_the_one_revision_that_it_names(
    http: httpx.Client, task_id: str
) -> None:
    supports = [sine(3 + i % 4, amplitude=1 + i / 3, phase=i / 2) for i in range(12)]
    adapt(http, task_id=task_id, support=supports[0])
    done = threading.Event()

    def read(_: int) -> list[PredictAnswer]:
        found: list[PredictAnswer] = []
        while not done.is_set() or not found:
            found.append(predict(http, task_id=task_id, inputs=QUERY))
        return found

    with ThreadPoolExecutor(8) as threads:
        reading = [threads.submit(read, i) for i in range(8)]
        try:
            for number, support in enumerate(supports[1:], start=2):
                assert adapt(http, task_id=task_id, support=support).revision == number
        finally:
            done.set()
        answers = [answer for future in reading for answer in future.result()]
    expected = {i + 1: outputs(http, support=support, inputs=QUERY) for i, support in enumerate(supports)}
    assert len({answer.revision for answer in answers}) > 3  # they read while it changed
    for answer in answers:
        matching = [number for number, found in expected.items() if close(answer.outputs, found)]
        assert matching == [answer.revision]


@pytest.mark.parametrize("round_", range(3))
def test_deleting_and_adapting_at_once_leave_a_whole_task_or_none(
    http: httpx.Client, task_id: str, round_: int
) -> None:
    adapt(http, task_id=task_id)
    bodies = [{"task_id": task_id, "support": sine(6 + i + round_)} for i in range(4)]
    with ThreadPoolExecutor(8) as threads:
        adapted = [threads.submit(http.post, "/adapt", json=body) for body in bodies]
        deleted = [threads.submit(http.delete, f"/tasks/{task_id}") for _ in range(4)]
    assert [future.result().status_code for future in adapted] == [201] * 4
    assert {future.result().status_code for future in deleted} <= {204, 404}
    numbers = [future.result().json()["revision"] for future in adapted]
    assert sorted(numbers) == [2, 3, 4, 5]
    response = http.get(f"/tasks/{task_id}")
    if response.status_code == 200:
        assert response.json()["revision"] == 5
        outputs(http, task_id=task_id, inputs=QUERY)
    else:
        problem_of(response, 404, "task-not-found")
