"""Keys: how the clients and the command show them."""

import httpx
import pytest
from typer.testing import CliRunner

from innerloop import AsyncClient, Client, errors
from innerloop.cli import app
from tests.innerloop.answers import page

KEY = "il_0123456789ab_" + "x" * 43


def shown(seen: list[httpx.Request]) -> list[str | None]:
    return [request.headers.get("Authorization") for request in seen]


def transport(seen: list[httpx.Request]) -> httpx.MockTransport:
    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=page())

    return httpx.MockTransport(handler)


async def test_a_key_is_sent_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INNERLOOP_API_KEY", raising=False)
    seen: list[httpx.Request] = []
    with Client(api_key=KEY, transport=transport(seen)) as client:
        assert (list(client.tasks()), list(client.models())) == ([], [])
    async with AsyncClient(api_key=f" {KEY}\n", transport=transport(seen)) as awaiting:
        assert [task async for task in awaiting.tasks()] == []
    with Client(transport=transport(seen)) as client:
        assert list(client.tasks()) == []
    assert shown(seen) == [f"Bearer {KEY}"] * 3 + [None]


def test_the_environment_has_the_key_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_API_KEY", KEY)
    seen: list[httpx.Request] = []
    for given in (None, "il_another"):
        with Client(api_key=given, transport=transport(seen)) as client:
            list(client.tasks())
    assert CliRunner().invoke(app, ["tasks", "list"], obj=transport(seen)).exit_code == 0
    assert shown(seen) == [f"Bearer {KEY}", "Bearer il_another", f"Bearer {KEY}"]


@pytest.mark.parametrize("key", ["two words", "new\nline", "schlüssel"])
def test_what_can_be_no_key_is_told_and_not_shown(key: str) -> None:
    with pytest.raises(errors.Unauthorized) as told:
        Client(api_key=key)
    assert key not in str(told.value)
