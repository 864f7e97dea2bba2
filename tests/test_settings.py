"""Settings: names that were meant to be another are found."""

import pytest

from app.settings import Settings, misspelt

OTHERS = ["HOME", "HOSTNAME", "PATH", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME", "OMP_NUM_THREADS", "TMPDIR"]


def test_no_setting_is_taken_for_another() -> None:
    names = [name.upper() for name in Settings.model_fields]
    assert misspelt([*names, *(name.lower() for name in names), *OTHERS]) == {}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_WAIT_SECOND", "MAX_WAIT_SECONDS"),
        ("TENANT_REQUEST_PER_SECOND", "TENANT_REQUESTS_PER_SECOND"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("allow_no_key", "ALLOW_NO_KEYS"),
    ],
)
def test_a_misspelt_name_is_told_with_the_one_that_was_meant(name: str, meant: str) -> None:
    assert misspelt([name, *OTHERS]) == {name: meant}
