"""The pages under docs/ are true: what they show works as pasted, and weights that leave predict the same elsewhere."""

import ast
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from app.settings import REPOSITORY
from tests.api.service import Service, start_service
from tests.api.test_api_weights import send
from tests.api.text_models import text_model
from tests.text.encoder_at_hand import needs_encoder

WRITTEN_URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("docs"), training_threads=1)
    yield running
    running.stop()


def blocks(page: str, language: str) -> list[str]:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no {language} block"
    return found


def run(service: Service, command: list[str], script: str, folder: Path) -> str:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    script = script.replace(WRITTEN_URL, service.url).replace("curl -s", "curl --fail --silent --show-error")
    done = subprocess.run([*command, script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bash(service: Service, script: str, folder: Path) -> str:
    return run(service, ["bash", "-euc"], script, folder)


def python(service: Service, script: str, folder: Path) -> str:
    return run(service, [sys.executable, "-c"], script, folder)


def test_a_task_of_numbers_predicts_the_same_in_plain_torch(service: Service, tmp_path: Path) -> None:
    bash(service, blocks("weights.md", "bash")[0], tmp_path)
    shown = json.loads(python(service, blocks("weights.md", "python")[0], tmp_path))
    body = {"task_id": "leaving", "inputs": [[0.0], [1.0], [2.5]]}
    assert np.allclose(shown, service.http.post("/predict", json=body).json()["outputs"], atol=1e-5)


def test_a_task_of_pictures_predicts_the_same_in_plain_torch(service: Service, tmp_path: Path) -> None:
    drawings = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    support = {"inputs": drawings.tolist(), "targets": ["zhe", "ef", "ya"]}
    adapted = service.http.post("/adapt", json={"task_id": "letters", "model": "omniglot-5way", "support": support})
    assert adapted.status_code == 201, adapted.text
    (tmp_path / "letters.safetensors").write_bytes(service.http.get("/tasks/letters/weights").content)
    shown = python(service, blocks("weights.md", "python")[1], tmp_path)
    rows = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    answer = service.http.post("/predict", json={"task_id": "letters", "inputs": rows.tolist()}).json()
    classes, _, numbers = shown.partition("] ")
    assert classes + "]" == str(answer["classes"])
    assert np.allclose(json.loads(numbers), answer["probabilities"], atol=1e-4)


def test_meta_training_over_http_works_as_pasted(service: Service, tmp_path: Path) -> None:
    assert "job_id" in bash(service, blocks("meta-training.md", "bash")[0], tmp_path)
    shown = python(service, blocks("meta-training.md", "python")[0], tmp_path)
    events, _, outputs = shown.strip().rpartition("\n")
    assert " end " in events
    # A machine of which little is known is predicted in its own units.
    assert 90.0 < json.loads(outputs)[0][0] < 130.0


def test_keys_are_made_and_shown_as_pasted(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data")
    script = "".join(blocks("keys.md", "bash")).replace("python -m app", f"{sys.executable} -m app")
    told = bash(service, f"cd {REPOSITORY}; export DATA_DIR={tmp_path / 'data'}\n{script}\necho; echo $KEY", tmp_path)
    assert '"task_id":"my-wave"' in told
    key = told.splitlines()[-1]
    assert re.search(rf"^{key.split('_')[1]} +acme +use,train ", told, re.MULTILINE)
    assert re.search('^innerloop_info{.*version="', told, re.MULTILINE)
    shown = python(service, blocks("keys.md", "python")[0].replace('os.environ["KEY"]', f'"{key}"'), tmp_path)
    assert shown == "['my-wave']\n"
    assert service.stop() == 0


def test_data_is_uploaded_as_pasted(service: Service, tmp_path: Path) -> None:
    answer = json.loads(bash(service, blocks("data.md", "bash")[0], tmp_path))
    assert (answer["rows"], answer["groups"], answer["input_names"]) == (9, 3, ["load", "heat"])


def test_what_an_answer_is_worth_is_told_as_pasted(service: Service, tmp_path: Path) -> None:
    answer = json.loads(bash(service, blocks("trust.md", "bash")[0], tmp_path))
    assert answer["estimate"]["rows"] == 6
    wave, line = python(service, blocks("trust.md", "python")[0], tmp_path).strip().splitlines()
    # As the page says: cross-validation tells the wave, which the model knows, from the line.
    error_of_wave, error_of_line = (float(re.findall(r"error=([0-9.e+-]+)", told)[0]) for told in (wave, line))
    assert 10 * error_of_wave < error_of_line


def test_abstaining_works_as_pasted(service: Service) -> None:
    shown = python(service, blocks("trust.md", "python")[1], REPOSITORY).strip().splitlines()
    assert shown[0].startswith("0.0 ['zhe', 'ef', 'ya']")
    for line in shown:
        least, labels, largest = re.findall(r"^([0-9.]+) (\[.*?\]) (\[.*?\])$", line)[0]
        is_sure = [probability >= float(least) for probability in json.loads(largest)]
        assert [label is not None for label in ast.literal_eval(labels)] == is_sure


def test_privacy_works_as_pasted(service: Service, tmp_path: Path) -> None:
    assert json.loads(bash(service, blocks("privacy.md", "bash")[0], tmp_path))["support_stored"] is False
    shown = python(service, blocks("privacy.md", "python")[0], tmp_path).splitlines()
    assert shown[1:] == ["2", "['remove-row', 'download-support', 'adapt']"]


@needs_encoder
def test_sentences_are_adapted_on_as_pasted(service: Service, tmp_path: Path) -> None:
    assert send(service.http, "intents", text_model()).status_code == 201
    version = service.http.get("/models/intents").json()["versions"][-1]["version"]
    assert service.http.post("/models/intents/promote", json={"version": version}).status_code == 200
    told = bash(service, blocks("text.md", "bash")[0], tmp_path)
    assert '"labels":["delivery","refund"]' in told
    shown = python(service, blocks("text.md", "python")[0], tmp_path).strip().splitlines()
    assert shown == ["['delivery', 'refund', 'account']", "['account']"]


def test_metrics_are_read_as_pasted(service: Service, tmp_path: Path) -> None:
    told = bash(service, blocks("observing.md", "bash")[0], tmp_path)
    assert "# TYPE innerloop_requests_total counter" in told


def test_the_lines_of_a_request_are_found_as_pasted(service: Service, tmp_path: Path) -> None:
    (tmp_path / "innerloop.log").symlink_to(service.log)
    found = bash(service, blocks("observing.md", "bash")[1], tmp_path)
    assert json.loads(found)["path"] == "/limits"


def test_a_backup_is_tried_out_as_pasted(service: Service, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    app = f"{sys.executable} -m app"
    (drill,) = blocks("deploying.md", "bash")
    drill = drill.replace("python -m app", app).replace("8001", port)
    here = f"cd {REPOSITORY}; export FILE={tmp_path}/night.zip TMPDIR={tmp_path} COMPILE_SERVING=never"
    told = bash(service, f"{here}\nDATA_DIR={service.log.parent} {app} backup $FILE\n{drill}", tmp_path)
    assert told.startswith("wrote ")
    assert "\nrestored " in told
    assert '"ready":true' in told
    assert not [*tmp_path.glob("tmp.*")]  # what mktemp had made


def test_ways_to_integrate_work_as_pasted(service: Service, tmp_path: Path) -> None:
    batches, *others = blocks("integrating.md", "bash")
    assert '"code":"task-not-found"' in bash(service, batches, tmp_path)
    for script in others:
        bash(service, script, tmp_path)
    in_batches, tensors, protocol = blocks("integrating.md", "python")
    assert python(service, in_batches, tmp_path).count("outputs:") == 3
    assert python(service, tensors, tmp_path) == "(200, 1)\n"
    host = service.url.removeprefix("http://")
    assert python(service, protocol.replace('127.0.0.1:8000")\nrows', f'{host}")\nrows'), tmp_path).count("[") == 3
