"""Mixed load on a service that may die at any moment: clients that note what they are told."""

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import httpx

from tests.api.asking import close
from tests.soak.load_models import other_weights
from tests.soak.recorder import Json, Record, Rows, ToldJob, ToldRevision, ToldTask

QUERY: Rows = [[-3.0], [0.5], [2.5]]
MODELS = ("sinusoid", "turning")
TURNING_VERSIONS = (1, 2)
SHARED_TASK = "shared"
MAX_LIVE_TASKS = 24
"""Of one client; past these it goes on with what it has."""
MAX_ROWS = 60
MAX_JOBS_OPEN = 2
MAX_ATTEMPTS = 50
"""Of sending again what had no answer, in one round."""
JOB: Json = {
    "learner": {"kind": "maml", "steps": 1, "learning_rate": 0.01},
    "network": {"kind": "mlp", "hidden": [8]},
    "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
    "iterations": 150,
    "meta_batch_size": 2,
    "validate_every": 15,
    "promote": "always",
}
TIMEOUT_SECONDS = 60.0
PAUSE_SECONDS = 0.1


class Client:
    """A caller that keeps asking until it is stopped or its connection breaks, and goes on in the next round."""

    def __init__(self, record: Record, seed: str) -> None:
        self._record = record
        self._random = random.Random(seed)

    def run(self, url: str, stop: threading.Event) -> None:
        """Ask until `stop`, or until the service is gone."""
        try:
            with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as http:
                self.go_on(http)
                while not stop.is_set():
                    self.act(http)
        except httpx.TransportError:  # what it was about is noted where it was sent
            return

    def go_on(self, http: httpx.Client) -> None:
        """Send again what had no answer in the round before."""

    def act(self, http: httpx.Client) -> None:
        """Send one request."""
        raise AssertionError("every client has its own")

    def _unexpected(self, what: str, answer: httpx.Response) -> None:
        """Note an answer that nothing here calls for; those of 503 say that nothing was done."""
        if answer.status_code == 503:
            self._record.counts["answers of 503"] += 1
        else:
            self._record.findings.append(f"{what}: {answer.status_code} {answer.text[:300]}")


@dataclass(frozen=True)
class _Call:
    """An adapt call under way."""

    task: ToldTask
    body: Json
    key: str | None
    support: Json
    """What its revision is made of."""


class TaskClient(Client):
    """Adapts, appends, predicts and deletes tasks of its own, and adapts one that it shares with others."""

    def __init__(self, record: Record, number: int, seed: int) -> None:
        super().__init__(record, f"{seed}-tasks-{number}")
        self._number = number
        self._own: list[ToldTask] = []
        self._unanswered: list[_Call] = []
        self._actions: list[tuple[int, Callable[[httpx.Client], None]]] = [
            (30, self._adapt_new),
            (25, self._append),
            (12, self._adapt_again),
            (8, self._adapt_shared),
            (18, self._predict),
            (7, self._delete),
        ]

    def go_on(self, http: httpx.Client) -> None:
        """Send calls without an answer again, under their keys: each must have been done once."""
        for _ in range(MAX_ATTEMPTS):
            if self._unanswered:
                self._send(http, self._unanswered[0], again=True)

    def act(self, http: httpx.Client) -> None:
        """Send one request of a kind drawn at random."""
        weights, actions = zip(*self._actions, strict=True)
        self._random.choices(actions, weights)[0](http)

    def _adapt_new(self, http: httpx.Client) -> None:
        live = [task for task in self._own if task.revisions]
        if len(live) >= MAX_LIVE_TASKS:
            self._adapt_again(http)
            return
        gone = [task for task in self._own if not task.revisions and task.is_latest_known]
        if gone and self._random.random() < 0.4:  # the number of a deleted task goes on
            task = self._random.choice(gone)
        else:
            task = self._record.task(f"task-{self._number}-{len(self._own)}")
            self._own.append(task)
        self._adapt(http, task, self._rows(), has_key=self._random.random() < 0.7)

    def _adapt_again(self, http: httpx.Client) -> None:
        task = self._drawn()
        if task is not None:
            self._adapt(http, task, self._rows(), has_key=self._random.random() < 0.7)

    def _adapt_shared(self, http: httpx.Client) -> None:
        self._adapt(http, self._record.tasks[SHARED_TASK], self._rows(), has_key=True)

    def _append(self, http: httpx.Client) -> None:
        task = self._drawn()
        if task is None or not task.is_latest_known or task.latest is None or not task.latest.support_stored:
            return
        known, new = task.latest.support, self._rows(most=3)
        union = {name: [*known[name], *new[name]] for name in known}
        if len(union["inputs"]) > MAX_ROWS:
            return
        body = {"task_id": task.task_id, "support": new, "append": True, "estimate": False}
        self._send(http, _Call(task, body, self._key(has_key=self._random.random() < 0.7), union))

    def _adapt(self, http: httpx.Client, task: ToldTask, support: Json, *, has_key: bool) -> None:
        body: Json = {"task_id": task.task_id, "support": support, "estimate": False}
        body["model"] = "sinusoid" if task.task_id == SHARED_TASK else self._random.choice(MODELS)
        if self._random.random() < 0.15:
            body["store_support"] = False
        self._send(http, _Call(task, body, self._key(has_key=has_key), support))

    def _send(self, http: httpx.Client, call: _Call, *, again: bool = False) -> None:
        """Send a call and note its answer, or that none came."""
        headers = {"Idempotency-Key": call.key} if call.key else {}
        try:
            answer = http.post("/adapt", json=call.body, headers=headers)
        except httpx.TransportError:
            if not again:
                self._record.adapt_unanswered(call.task, will_repeat=call.key is not None)
                if call.key is not None:
                    self._unanswered.append(call)
            raise
        is_refused = answer.status_code == 422 and answer.json()["code"] == "diverged"  # few rows may be too steep
        if answer.status_code != 201 and not is_refused:
            self._unexpected(f"adapt of {call.body['task_id']}", answer)
            time.sleep(PAUSE_SECONDS)
            return
        if again:
            self._unanswered.remove(call)  # before anything else is asked, which may have no answer again
            self._record.repeated(call.task)
        if is_refused:
            self._record.counts["adapts that diverged"] += 1
            return
        if again:
            self._record.counts["calls sent again"] += 1
            self._record.counts["of them done before"] += "Idempotency-Replayed" in answer.headers
        self._note(http, call, answer.json())

    def _note(self, http: httpx.Client, call: _Call, told: Json) -> None:
        if told["support_size"] != len(call.support["inputs"]):
            self._record.findings.append(f"{told['task_id']}@{told['revision']}: {told['support_size']} rows")
        model = f"{told['model']}@{told['model_version']}"
        revision = ToldRevision(told["revision"], model, call.support, bool(call.body.get("store_support", True)))
        self._record.adapted(call.task, revision, call.key, call.body, told)
        if self._random.random() < 0.6:
            self._predict_revision(http, call.task, revision)

    def _predict(self, http: httpx.Client) -> None:
        task = self._drawn()
        if task is not None and task.latest is not None:
            self._predict_revision(http, task, task.latest)

    def _predict_revision(self, http: httpx.Client, task: ToldTask, revision: ToldRevision) -> None:
        """Predict with a revision; it has to be what was predicted before."""
        body = {"task_id": task.task_id, "revision": revision.number, "inputs": QUERY}
        answer = http.post("/predict", json=body)
        if answer.status_code == 404 and task.task_id == SHARED_TASK:
            return  # others made so many since that it is kept no longer
        if answer.status_code != 200:
            self._unexpected(f"predict of {task.task_id}@{revision.number}", answer)
            return
        self._record.counts["predicts answered"] += 1
        found = answer.json()["outputs"]
        if revision.outputs is not None and not close(found, revision.outputs):
            self._record.findings.append(f"{task.task_id}@{revision.number} predicts {found}, not {revision.outputs}")
        revision.outputs = found

    def _delete(self, http: httpx.Client) -> None:
        task = self._drawn()
        if task is None:
            return
        try:
            answer = http.delete(f"/tasks/{task.task_id}")
        except httpx.TransportError:
            self._record.delete_unanswered(task)
            raise
        if answer.status_code == 204 or (answer.status_code == 404 and task.may_be_gone):
            self._record.deleted(task)
        else:
            self._unexpected(f"delete of {task.task_id}", answer)

    def _drawn(self) -> ToldTask | None:
        """Return a task that is there."""
        live = [task for task in self._own if task.revisions and not task.may_be_gone]
        return self._random.choice(live) if live else None

    def _rows(self, most: int = 6) -> Json:
        x = [self._random.uniform(-4.5, 4.5) for _ in range(self._random.randint(1, most))]
        amplitude, phase = self._random.uniform(0.5, 3.0), self._random.uniform(0.0, 3.0)
        return {"inputs": [[value] for value in x], "targets": [amplitude * math.sin(value + phase) for value in x]}

    def _key(self, *, has_key: bool) -> str | None:
        return f"key-{uuid4().hex}" if has_key else None


class JobClient(Client):
    """Asks for small meta-training jobs, each once and under a key, and looks at them."""

    def go_on(self, http: httpx.Client) -> None:
        """Ask again for jobs without an answer."""
        for job in [*self._record.jobs.values()]:
            if job.job_id is None:
                self._ask(http, job)
                self._record.counts["calls sent again"] += 1

    def act(self, http: httpx.Client) -> None:
        """Ask for a job, where few are open."""
        open_jobs = 0
        for job in [*self._record.jobs.values()][-2 * MAX_JOBS_OPEN :]:
            if job.job_id is not None:
                found = http.get(f"/meta-train/{job.job_id}")
                open_jobs += found.status_code != 200 or found.json()["status"] in ("queued", "running")
        if open_jobs < MAX_JOBS_OPEN:
            name = f"waves-{len(self._record.jobs)}"
            job = ToldJob(f"key-{uuid4().hex}", {**JOB, "name": name, "seed": self._random.randint(0, 1000)})
            self._record.jobs[name] = job
            self._ask(http, job)
        time.sleep(PAUSE_SECONDS)

    def _ask(self, http: httpx.Client, job: ToldJob) -> None:
        try:
            answer = http.post("/meta-train", json=job.body, headers={"Idempotency-Key": job.key})
        except httpx.TransportError:
            self._record.counts["jobs without an answer"] += 1
            raise
        if answer.status_code == 202:
            self._record.counts["jobs acknowledged"] += 1
            job.job_id = str(answer.json()["job_id"])
        else:
            self._unexpected(f"meta-train of {job.body['name']}", answer)


class PromoteClient(Client):
    """Makes one version of a model active and then the other."""

    def act(self, http: httpx.Client) -> None:
        """Promote."""
        version = self._random.choice(TURNING_VERSIONS)
        may_be_active = self._record.active["turning"]
        before = {*may_be_active}
        may_be_active.add(version)
        answer = http.post("/models/turning/promote", json={"version": version})
        if answer.status_code == 200:
            self._record.counts["promotes acknowledged"] += 1
            self._record.active["turning"] = {version}
        else:
            self._record.active["turning"] = before
            self._unexpected(f"promote of turning@{version}", answer)
        time.sleep(PAUSE_SECONDS)


class Load:
    """All clients, a thread each, for one round after the other."""

    def __init__(self, record: Record, seed: int, num_task_clients: int) -> None:
        record.task(SHARED_TASK)
        self._clients: list[Client] = [TaskClient(record, number, seed) for number in range(num_task_clients)]
        self._clients += [JobClient(record, f"{seed}-jobs"), PromoteClient(record, f"{seed}-promotes")]
        self._record = record
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, url: str) -> None:
        """Begin to ask."""
        self._stop.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(client, url), daemon=True) for client in self._clients
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait until no client asks any more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_SECONDS)
            if thread.is_alive():
                self._record.findings.append("a client still waits for its answer")

    def _run(self, client: Client, url: str) -> None:
        try:
            client.run(url, self._stop)
        except Exception as error:  # noqa: BLE001 -- a fault of the load is a finding too
            self._record.findings.append(f"{type(client).__name__}: {error!r}")


def set_up(http: httpx.Client, record: Record) -> None:
    """Make the model that is promoted to and fro: two versions of other weights."""
    data = http.get("/models/sinusoid/versions/1/weights").content
    for factor in (1.0, 1.05):
        kind = {"Content-Type": "application/vnd.safetensors"}
        answer = http.post("/models/turning/versions", content=other_weights(data, factor), headers=kind)
        assert answer.status_code == 201, answer.text
    record.active["turning"] = {TURNING_VERSIONS[0]}
