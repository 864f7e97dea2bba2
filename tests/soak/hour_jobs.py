"""Meta-training jobs beside a soak: small ones that end, and endless ones that are cancelled."""

import threading
from dataclasses import dataclass
from typing import Any

import httpx

from tests.serving.jobs import end_of, start_job, wait_for
from tests.soak.hour_record import Record

NAME = "soak"
SMALL: dict[str, Any] = {
    "name": NAME,
    "network": {"kind": "mlp", "hidden": [8]},
    "iterations": 60,
    "meta_batch_size": 2,
    "validate_every": 20,
    "promote": "always",
}
ENDLESS = {"iterations": 1_000_000, "validate_every": 100}
CANCEL_EVERY = 3
"""Of so many jobs one is cancelled."""


@dataclass
class Jobs:
    """Starts a job every so often and keeps one version of the model it makes."""

    url: str
    record: Record
    stop: threading.Event
    every_seconds: float
    num_started: int = 0

    def run(self) -> None:
        """Train until told to stop; a job under way is waited for."""
        with httpx.Client(base_url=self.url, timeout=60.0) as http:
            while True:
                try:
                    self._one(http)
                except Exception as error:  # noqa: BLE001 -- counted, and the next one is tried
                    self.record.note("job", type(error).__name__, "unexpected")
                    self.record.complain(f"job: {error!r}")
                if self.stop.wait(self.every_seconds):
                    return

    def _one(self, http: httpx.Client) -> None:
        self.num_started += 1
        cancelled = self.num_started % CANCEL_EVERY == 0
        fields = {**SMALL, **(ENDLESS if cancelled else {}), "seed": self.num_started}
        job = start_job(http, **fields)
        if cancelled:
            wait_for(http, job.job_id, lambda job: job.progress.iteration > 0)
            http.post(f"/meta-train/{job.job_id}/cancel").raise_for_status()
        expected = "cancelled" if cancelled else "succeeded"
        ended = end_of(http, job.job_id)
        self.record.note("job", ended.status, "expected" if ended.status == expected else "unexpected")
        if ended.status != expected:
            self.record.complain(f"job: {ended.status}, {ended.error}")
        self._forget_versions(http)

    def _forget_versions(self, http: httpx.Client) -> None:
        model = http.get(f"/models/{NAME}").json()
        for version in model["versions"]:
            if version["version"] != model["active_version"]:
                status = http.delete(f"/models/{NAME}/versions/{version['version']}").status_code
                self.record.note("delete version", str(status), "expected" if status == 204 else "unexpected")
