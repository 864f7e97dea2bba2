"""The store that a command works on: named in what it says, and made only by a command that may begin one."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import typer
from sqlalchemy import make_url

from app.commands.serve import keep_private, read_settings
from app.main import opened_store
from app.settings import Settings
from app.store import Store
from innerloop.errors import InnerloopError, StoreUnavailable

R = TypeVar("R")


class Done(NamedTuple, Generic[R]):
    """What was done on a store."""

    result: R
    where: str
    """What the store is called, and that it is new where it is."""


def on_store(work: Callable[[Store], R], *, may_begin: bool) -> Done[R]:
    """Return what `work` makes of the opened store; ends with status 1 and a line where it fails.

    Without `may_begin` a SQLite file that is not there is an error: whoever looks for something in a new, empty store
    has left out which one is meant.
    """
    settings = read_settings()
    keep_private()
    try:
        is_new, name = is_missing(settings), name_of(settings)
        if is_new and not may_begin:
            raise StoreUnavailable(
                f"there is no store at {name}; give this command the DATA_DIR or DATABASE_URL of the service"
            )
        store = opened_store(settings)
        try:
            return Done(work(store), f"a new store at {name}" if is_new else name)
        finally:
            store.close()
    except (InnerloopError, ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def is_missing(settings: Settings) -> bool:
    """Tell whether the store is a SQLite file that is not there."""
    url = make_url(settings.store_url)
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file()


def name_of(settings: Settings) -> str:
    """Return what the store is called: the path of a SQLite file, or a URL without its password."""
    url = make_url(settings.store_url)
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)
