"""One caller of a soak: asks for what there is to ask for, and holds answers against what it was told before."""

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from tests.api.asking import close
from tests.soak.hour_hostile import BAD_REQUESTS, drop_connection
from tests.soak.hour_record import Record

QUERY = [[-2.0], [0.25], [3.0]]
MOST_ROWS = 30
HOT = 3
TTL_SECONDS, TTL_SLACK_SECONDS = 3, 1.5
TIMEOUT_SECONDS = 60.0
REFUSED = (429, 503)
DIVERGED = '"code":"diverged"'
"""One random wave in tens of thousands is too steep for the rates of the model, and is told so."""
PAUSE_WHEN_REFUSED_SECONDS = 0.5


@dataclass
class Known:
    """What this caller knows of a task of its own."""

    revision: int
    outputs: list[list[float]]
    num_rows: int
    stored_rows: bool = True


@dataclass
class Caller:
    """A caller with tasks of its own, at most `most_tasks` of them alive."""

    url: str
    name: str
    record: Record
    stop: threading.Event
    pause_seconds: float
    most_tasks: int
    seed: int
    tasks: dict[str, Known] = field(default_factory=dict)
    ending: dict[str, float] = field(default_factory=dict)
    """Tasks with a time to live, and the moments from which they must be gone."""
    num_made: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._numbers = np.random.default_rng(self.seed)
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT_SECONDS)
        weights: dict[Callable[[], None], int] = {
            self.predict_hot: 30,
            self.predict_cold: 15,
            self.adapt: 18,
            self.append: 6,
            self.remove_row: 3,
            self.adapt_batch: 3,
            self.predict_batch: 3,
            self.infer: 5,
            self.predict_stateless: 2,
            self.adapt_with_ttl: 2,
            self.adapt_without_rows: 1,
            self.adapt_pictures: 1,
            self.adapt_twice_with_one_key: 1,
            self.adapt_in_a_hurry: 1,
            self.look: 3,
            self.ask_for_something_bad: 8,
            self.drop: 3,
        }
        self._doings, self._weights = list(weights), list(weights.values())

    def run(self) -> None:
        """Ask until told to stop."""
        try:
            while not self.stop.wait(self._random.uniform(0.0, 2 * self.pause_seconds)):
                self._random.choices(self._doings, self._weights)[0]()
                self.expire()
                while len(self.tasks) > self.most_tasks:
                    self.delete(self._random.choice(list(self.tasks)))
        except Exception as error:  # a caller that ends early would make the soak look better than it is
            self.record.note("caller", type(error).__name__, "unexpected")
            self.record.complain(f"{self.name} ended: {error!r}")
            raise
        finally:
            self._http.close()

    # ---- what is asked for ----

    def adapt(self) -> None:
        num_rows = self._random.randint(4, 20)
        task_id = self._new_id()
        body = {"task_id": task_id, "support": self._rows(num_rows), "steps": self._random.choice([1, 5])}
        if (answer := self._ask("adapt", {201}, "/adapt", body)) is not None:
            self._learn(task_id, answer.json()["revision"], num_rows)

    def adapt_with_ttl(self) -> None:
        task_id = self._new_id()
        body = {"task_id": task_id, "support": self._rows(4), "ttl_seconds": TTL_SECONDS, "estimate": False}
        if self._ask("adapt", {201}, "/adapt", body) is not None:
            self.ending[task_id] = time.monotonic() + TTL_SECONDS + TTL_SLACK_SECONDS

    def adapt_without_rows(self) -> None:
        task_id = self._new_id()
        body = {"task_id": task_id, "support": self._rows(5), "store_support": False}
        if (answer := self._ask("adapt", {201}, "/adapt", body)) is not None:
            self._learn(task_id, answer.json()["revision"], 5, stored_rows=False)
            appended = {"task_id": task_id, "support": self._rows(1), "append": True}
            self._ask("append without rows", {422}, "/adapt", appended)

    def adapt_pictures(self) -> None:
        task_id = self._new_id()
        pictures = (self._numbers.random((4, 1, 28, 28)) < 0.1).astype(int).tolist()
        classes = ["a", "b", "c", "d"]  # one picture of each, whose prototype it then is: noise has no classes
        support = {"inputs": pictures, "targets": classes}
        if self._ask("adapt pictures", {201}, "/adapt", {"task_id": task_id, "model": "omniglot", "support": support}):
            body = {"task_id": task_id, "inputs": pictures}
            if (answer := self._ask("predict pictures", {200}, "/predict", body)) is not None:
                labels = answer.json()["labels"]
                self.record.check("predict pictures", holds=labels == classes, text=f"{labels} of its own support")
            self._delete(task_id)

    def adapt_twice_with_one_key(self) -> None:
        task_id = self._new_id()
        body, headers = {"task_id": task_id, "support": self._rows(4)}, {"Idempotency-Key": task_id}
        answers = [self._ask("adapt with key", {201}, "/adapt", body, headers) for _ in range(2)]
        told = [answer.json()["revision"] for answer in answers if answer is not None]
        self.record.check("adapt with key", holds=len(set(told)) <= 1, text=f"revisions {told} under one key")
        if told:
            self._delete(task_id)

    def adapt_in_a_hurry(self) -> None:
        task_id = self._new_id()
        body = {"task_id": task_id, "support": self._rows(10), "ttl_seconds": TTL_SECONDS}
        self._ask("adapt within 1 ms", {201, 504}, "/adapt", body, {"X-Request-Timeout-Ms": "1"})

    def append(self) -> None:
        task_id, known = self._any(lambda known: known.stored_rows and known.num_rows < MOST_ROWS)
        if known is None:
            return
        support = self._rows(1)
        body = {"task_id": task_id, "support": support, "append": True, "if_revision": known.revision}
        if (answer := self._ask("append", {201}, "/adapt", body)) is not None:
            told = answer.json()
            size = told["support_size"]
            self.record.check("append", holds=size == known.num_rows + 1, text=f"{size} rows after {known.num_rows}")
            self._learn(task_id, told["revision"], size)

    def remove_row(self) -> None:
        task_id, known = self._any(lambda known: known.stored_rows and known.num_rows > 3)
        if known is None:
            return
        row = self._random.randrange(known.num_rows)
        path = f"/tasks/{task_id}/support/{row}?if_revision={known.revision}"
        if (answer := self._ask("remove row", {200}, path, method="DELETE")) is not None:
            self._learn(task_id, answer.json()["revision"], known.num_rows - 1)

    def predict_hot(self) -> None:
        self._predict(list(self.tasks)[-HOT:])

    def predict_cold(self) -> None:
        self._predict(list(self.tasks))

    def predict_batch(self) -> None:
        chosen = self._random.sample(list(self.tasks), min(5, len(self.tasks)))
        bodies = [{"task_id": task_id, "inputs": QUERY} for task_id in chosen]
        if bodies and (answer := self._ask("predict batch", {200}, "/predict/batch", bodies)) is not None:
            for task_id, told in zip(chosen, answer.json(), strict=True):
                self._compare("predict batch", task_id, told)

    def adapt_batch(self) -> None:
        made = {self._new_id(): self._random.randint(4, 12) for _ in range(3)}
        bodies: list[Any] = [{"task_id": one, "support": self._rows(rows)} for one, rows in made.items()]
        if (answer := self._ask("adapt batch", {200}, "/adapt/batch", [*bodies, {"task_id": "x"}])) is not None:
            *told, bad = answer.json()
            self.record.check("adapt batch", holds=bad.get("status") == 422, text=f"{bad} for a body with no support")
            for (task_id, rows), one in zip(made.items(), told, strict=True):
                if one.get("status") in REFUSED or one.get("code") == "diverged":
                    continue
                self.record.check("adapt batch", holds="revision" in one, text=str(one))
                if "revision" in one:
                    self._learn(task_id, one["revision"], rows)

    def infer(self) -> None:
        task_id, known = self._any(lambda known: True)
        if known is None:
            return
        tensor = {"name": "inputs", "shape": [len(QUERY), 1], "datatype": "FP32", "data": QUERY}
        path = f"/v2/models/{task_id}/infer"
        if (answer := self._ask("infer", {200}, path, {"inputs": [tensor]})) is not None:
            (found,) = answer.json()["outputs"]
            self._compare("infer", task_id, {"outputs": np.reshape(found["data"], found["shape"]).tolist()})

    def predict_stateless(self) -> None:
        body = {"model": "sinusoid", "support": self._rows(5), "inputs": QUERY}
        if (answer := self._ask("predict stateless", {200}, "/predict", body)) is not None:
            told = answer.json()
            fine = told["task_id"] is None and len(told["outputs"]) == len(QUERY)
            self.record.check("predict stateless", holds=fine, text=str(told)[:200])

    def look(self) -> None:
        task_id, known = self._any(lambda known: True)
        if known is None:
            return
        for path in ("/readyz", "/tasks?limit=50", "/models/sinusoid", f"/tasks/{task_id}/weights"):
            self._ask("look", {200}, path, method="GET")
        if (answer := self._ask("look", {200}, f"/tasks/{task_id}", method="GET")) is not None:
            revision = answer.json()["revision"]
            fine = revision == known.revision
            self.record.check("look", holds=fine, text=f"revision {revision}, not {known.revision}")

    def ask_for_something_bad(self) -> None:
        bad = self._random.choice(BAD_REQUESTS)
        self._send(f"bad: {bad.what}", bad.statuses, bad.method, bad.path, content=bad.body, headers=bad.headers)

    def drop(self) -> None:
        whole = {"support": self._rows(10), "inputs": QUERY}
        drop_connection(self.url, whole, self._random)
        self.record.note("drop", "dropped", "expected")

    def expire(self) -> None:
        """Ask for what must be gone by now."""
        for task_id in [task_id for task_id, at in self.ending.items() if at < time.monotonic()]:
            del self.ending[task_id]
            self._ask("predict expired", {404}, "/predict", {"task_id": task_id, "inputs": QUERY})

    def delete(self, task_id: str) -> None:
        """Delete a task of those that are known, and ask for it once more."""
        del self.tasks[task_id]
        self._delete(task_id)

    # ---- how ----

    def _delete(self, task_id: str) -> None:
        for _ in range(20):  # one that is refused for the moment is still to be deleted
            if self._ask("delete", {204}, f"/tasks/{task_id}", method="DELETE") is not None:
                self._ask("predict deleted", {404}, "/predict", {"task_id": task_id, "inputs": QUERY})
                return

    def _predict(self, among: list[str]) -> None:
        if not among:
            return
        task_id = self._random.choice(among)
        body: dict[str, Any] = {"task_id": task_id, "inputs": QUERY}
        if self._random.random() < 0.2:
            body["revision"] = self.tasks[task_id].revision
        if (answer := self._ask("predict", {200}, "/predict", body)) is not None:
            self._compare("predict", task_id, answer.json())

    def _compare(self, what: str, task_id: str, told: dict[str, Any]) -> None:
        if told.get("status") in REFUSED:  # of a batch
            return
        outputs, known = told.get("outputs"), self.tasks[task_id].outputs
        fine = close(outputs, known, within=1e-4)
        self.record.check(what, holds=fine, text=f"{task_id}: {outputs} where {known} was told")

    def _learn(self, task_id: str, revision: int, num_rows: int, *, stored_rows: bool = True) -> None:
        """Remember what the service predicts of a new revision; a task it refuses to predict now is forgotten."""
        body = {"task_id": task_id, "revision": revision, "inputs": QUERY}
        answer = self._ask("predict", {200}, "/predict", body)
        self.tasks.pop(task_id, None)
        if answer is None:
            self._delete(task_id)
            return
        self.tasks[task_id] = Known(revision, answer.json()["outputs"], num_rows, stored_rows)

    def _any(self, holds: Callable[[Known], bool]) -> tuple[str, Known | None]:
        found = [(task_id, known) for task_id, known in self.tasks.items() if holds(known)]
        return self._random.choice(found) if found else ("", None)

    def _rows(self, count: int) -> dict[str, Any]:
        x = self._numbers.uniform(-5.0, 5.0, count)
        y = self._numbers.uniform(0.1, 5.0) * np.sin(x - self._numbers.uniform(0.0, np.pi))
        return {"inputs": x.round(4)[:, None].tolist(), "targets": y.round(4).tolist()}

    def _new_id(self) -> str:
        self.num_made += 1
        return f"{self.name}-{self.num_made}"

    def _ask(
        self,
        what: str,
        statuses: Collection[int],
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        method: str = "POST",
    ) -> httpx.Response | None:
        return self._send(what, statuses, method, path, headers=headers, **({} if body is None else {"json": body}))

    def _send(
        self, what: str, statuses: Collection[int], method: str, path: str, **request: Any
    ) -> httpx.Response | None:
        """Return the answer if it is one of those expected; None where the service had no room for it or is wrong."""
        began = time.perf_counter()
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            self.record.note(what, type(error).__name__, "unexpected")
            self.record.complain(f"{what}: {error!r}")
            return None
        took, status = time.perf_counter() - began, str(answer.status_code)
        if answer.status_code in statuses:
            self.record.note(what, status, "expected", took)
            return answer
        if answer.status_code in REFUSED and "Retry-After" in answer.headers:
            self.record.note(what, status, "refused")
            self.stop.wait(PAUSE_WHEN_REFUSED_SECONDS)
            return None
        if DIVERGED in answer.text and answer.status_code == 422:
            self.record.note(what, "diverged", "expected", took)
            return None
        self.record.note(what, status, "unexpected", took)
        self.record.complain(f"{what}: {status} {answer.text[:300]}")
        return None
