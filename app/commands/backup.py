"""`python -m app backup FILE` and `restore FILE`: the store as one file, from and to either database."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from app.commands.serve import read_settings
from app.main import opened_store
from app.store import Store
from innerloop.errors import InnerloopError, StoreUnavailable

Report = Mapping[str, int]


def backup(file: Annotated[Path, typer.Argument(help="Zip to write; it must not be there yet.")]) -> None:
    """Write all that is in the store that DATA_DIR or DATABASE_URL names, at one moment, to a file.

    The service may run meanwhile. The file holds support rows and weights as they are: keep it as safe as the store.
    """
    _told(lambda store: store.backup(file), "wrote")


def restore(
    file: Annotated[Path, typer.Argument(help="Zip that `backup` wrote.", exists=True, dir_okay=False)],
) -> None:
    """Fill an empty store from such a file, all of it or nothing; before the service first starts on it."""
    _told(lambda store: _restored(store, file), "restored")


def _restored(store: Store, file: Path) -> Report:
    try:
        return store.restore(file)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error.detail}; nothing else may work on a store that is restored") from error


def _told(work: Callable[[Store], Report], done: str) -> None:
    """Run on the opened store and say how many rows it was; ends with status 1 and a line where it fails."""
    settings = read_settings()
    try:
        store = opened_store(settings)
        try:
            rows = work(store)
        finally:
            store.close()
    except (InnerloopError, ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    shown = ", ".join(f"{count} {table}" for table, count in sorted(rows.items()) if count)
    typer.echo(f"{done} {shown or 'an empty store'}")
