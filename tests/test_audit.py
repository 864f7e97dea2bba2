"""What is installed is pinned by its hash, and held against known vulnerabilities: a finding fails the build."""

import importlib.machinery
import importlib.util
import re
from types import ModuleType
from typing import Any

import pytest

from app.settings import REPOSITORY

LOCKS = sorted(REPOSITORY.glob("requirements*.lock"))
WITHOUT_HASHES = re.compile(r"torch==|\$\(TORCH\)|\$\(PEERS\)/|learn2learn")
"""torch is taken by its exact version, as each machine's own build; peers are what a benchmark is compared with."""
SOUND = {"name": "orjson", "version": "3.11.0", "vulns": []}
FLAWED = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "innerloop", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("audit", str(REPOSITORY / ".ci" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_package_of_every_lock_has_its_hash() -> None:
    assert len(LOCKS) >= 4
    for lock in LOCKS:
        text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
        packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert packages
        assert [line for line in packages if "==" not in line or "--hash=sha256:" not in line] == []


def test_whatever_is_installed_is_installed_by_hash() -> None:
    for name in ("Makefile", "Dockerfile"):
        text = (REPOSITORY / name).read_text(encoding="utf-8").replace("\\\n", " ")
        installs = [line for line in text.splitlines() if re.search(r"(pip|PIP\)).*\binstall\b", line)]
        assert installs
        loose = [line for line in installs if "--require-hashes" not in line and not WITHOUT_HASHES.search(line)]
        assert loose == []


def test_the_build_audits_what_it_installs() -> None:
    assert re.search(r"^make .*\baudit\b", (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert "--strict" not in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("packages", "num_wrong", "num_audited", "says_why"),
    [([SOUND], 0, 1, False), ([SOUND, UNKNOWN], 0, 1, False), ([SOUND, FLAWED], 1, 2, False), ([UNKNOWN], 0, 0, True)],
)
def test_findings_are_told_from_what_could_not_be_learnt(
    audit: ModuleType, packages: list[dict[str, Any]], num_wrong: int, num_audited: int, says_why: bool
) -> None:
    wrong, audited, _, why = audit.told(packages)
    assert (len(wrong), audited, bool(why)) == (num_wrong, num_audited, says_why)


@pytest.mark.parametrize(
    ("outcome", "strict", "status", "said"),
    [
        (([], 9, 0, ""), False, 0, "9 packages audited"),
        ((["pillow 1.0: CVE-1"], 9, 0, ""), False, 1, "CVE-1"),
        (([], 0, 9, "no route to host"), False, 0, "NOT AUDITED, no advisory service was reached: no route to host"),
        (([], 0, 9, "no route to host"), True, 1, "NOT AUDITED"),
    ],
)
def test_a_finding_fails_the_build_and_a_missing_service_is_said(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    outcome: Any, strict: bool, status: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(audit, "audited", lambda lock: outcome)
    monkeypatch.setattr("sys.argv", ["audit", *(["--strict"] if strict else [])])
    assert audit.main() == status
    assert said in capsys.readouterr().out
