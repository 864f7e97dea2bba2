"""`python -m app backup FILE` and `restore FILE`: the store as one file, from and to either database."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from app.commands.stores import Done, on_store
from app.store import Store
from innerloop.errors import StoreUnavailable

Report = Mapping[str, int]


def backup(file: Annotated[Path, typer.Argument(help="Zip to write; it must not be there yet.")]) -> None:
    """Write all that is in the store that DATA_DIR or DATABASE_URL names, at one moment, to a file.

    The service may run meanwhile. The file holds support rows and weights as they are: keep it as safe as the store.
    """
    _tell(on_store(lambda store: store.backup(file), may_begin=False), "wrote", "from")


def restore(
    file: Annotated[Path, typer.Argument(help="Zip that `backup` wrote.", exists=True, dir_okay=False)],
) -> None:
    """Fill an empty store from such a file, all of it or nothing; before the service first starts on it."""
    _tell(on_store(lambda store: _restored(store, file), may_begin=True), "restored", "into")


def _restored(store: Store, file: Path) -> Report:
    try:
        return store.restore(file)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error.detail}; nothing else may work on a store that is restored") from error


def _tell(done: Done[Report], verb: str, preposition: str) -> None:
    shown = ", ".join(f"{count} {table}" for table, count in sorted(done.result.items()) if count)
    typer.echo(f"{verb} {shown or 'an empty store'}, {preposition} {done.where}")
