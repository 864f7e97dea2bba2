"""Starting: on loopback alone unless it is meant, and with a clear word when it cannot."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.main import make_context
from app.settings import REPOSITORY, Settings
from tests.api.service import start_service
from tests.api.tenants import bearer, make_key


def refused(tmp_path: Path, **settings: str) -> str:
    """Start the service, which must end by itself, and return what it says."""
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "PORT": "0", **settings}
    done = subprocess.run(
        [sys.executable, "-m", "app", "serve"], cwd=REPOSITORY, env=environment, capture_output=True, timeout=120
    )
    assert done.returncode != 0
    said = done.stderr.decode()
    assert "Traceback" not in said
    return said


def test_an_open_address_without_keys_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, HOST="0.0.0.0")
    assert "ALLOW_NO_KEYS=1" in said
    assert "0.0.0.0" in said


def test_an_open_address_is_served_once_there_is_a_key(tmp_path: Path) -> None:
    key = make_key(tmp_path / "data", "acme")
    service = start_service(tmp_path / "data", host="0.0.0.0")
    assert service.url.startswith("http://0.0.0.0:")
    assert service.http.get("/tasks").status_code == 401
    assert service.http.get("/tasks", headers=bearer(key)).status_code == 200
    assert service.stop() == 0


def test_the_default_address_is_loopback_which_other_machines_do_not_reach(tmp_path: Path) -> None:
    assert Settings.model_fields["host"].default == "127.0.0.1"
    service = start_service(tmp_path / "data")
    assert service.url.startswith("http://127.0.0.1:")
    port = int(service.url.rpartition(":")[2])
    listening = {  # this machine's other addresses are what others would come by
        line.split()[1] for file in ("/proc/net/tcp", "/proc/net/tcp6") for line in Path(file).read_text().splitlines()
    }
    assert {address for address in listening if address.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}
    assert service.stop() == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.example.org"])
def test_only_loopback_is_served_without_keys(tmp_path: Path, host: str) -> None:
    settings = Settings(host=host, data_dir=tmp_path)
    with pytest.raises(ValueError, match="ALLOW_NO_KEYS=1"):
        make_context(settings)


def test_an_open_address_is_served_when_it_is_meant(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data", host="0.0.0.0", allow_no_keys=1)
    assert service.url.startswith("http://0.0.0.0:")
    assert service.http.get("/healthz").json() == {"status": "ok"}
    assert service.stop() == 0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"PORT": "eighty"}, "PORT"),
        ({"MAX_STEPS": "0"}, "MAX_STEPS"),
        ({"PURGE_EVERY_SECONDS": "61"}, "PURGE_EVERY_SECONDS: Input should be less than or equal to 60"),
        ({"DATABASE_URL": "mysql://somewhere/else"}, "cannot start"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/nobody"}, "cannot start"),
        ({"DATA_DIR": "/dev/null/nowhere"}, "cannot start"),
        ({"DEVICE": "abacus"}, "cannot start"),
        ({"MODELS_DIR": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, settings: dict[str, str], word: str) -> None:
    assert word in refused(tmp_path, **settings)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(tmp_path, PORT=str(port))


def test_a_damaged_shipped_model_is_named(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "broken.safetensors").write_bytes(b"nothing of the kind")
    (models / "broken.json").write_text("{}")
    assert "broken.json" in refused(tmp_path, MODELS_DIR=str(models))


def test_starting_again_adds_no_versions(tmp_path: Path) -> None:
    for _ in range(2):
        service = start_service(tmp_path / "data")
        versions = [len(model["versions"]) for model in service.http.get("/models").json()["data"]]
        assert service.stop() == 0
    assert versions
    assert set(versions) == {1}
