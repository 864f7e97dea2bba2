"""`python -m app keys`: who may use the service. Keys are made here and nowhere else."""

import re
from datetime import UTC, datetime
from typing import Annotated

import typer

from app.bearer_keys import hashed, key_id_in, new_key
from app.commands.stores import on_store
from app.store import SCOPES, KeyRecord, NewKey, Scope

MAX_NAME_CHARS = 200
TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

keys = typer.Typer(
    no_args_is_help=True,
    help="Make, list and revoke keys of the store that DATA_DIR or DATABASE_URL names; the service may run meanwhile.",
)


@keys.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is; tasks, data sets, jobs and own models are a tenant's.")],
    scopes: Annotated[str, typer.Option(help="Of use, train and admin, with commas between.")] = "use",
    name: Annotated[str | None, typer.Option(help="What the key is for, to be found in the list.")] = None,
) -> None:
    """Make a key and show it, this once: what is stored is a hash of it.

    From the first key on nobody is served without one.
    """
    if not TENANT.fullmatch(tenant):
        raise typer.BadParameter("1 to 64 letters, digits, _ and - are expected", param_hint="--tenant")
    if name is not None and not (len(name) <= MAX_NAME_CHARS and name.isprintable()):
        raise typer.BadParameter(f"at most {MAX_NAME_CHARS} printable characters", param_hint="--name")
    made, wanted = new_key(), _scopes(scopes)
    new = NewKey(made.key_id, tenant, wanted, hashed(made.text), name)
    where = on_store(lambda store: store.add_key(new, now=datetime.now(UTC)), may_begin=True).where
    typer.echo(f"key {made.key_id} of {tenant} for {_shown(wanted)}, in {where}; it is shown this once", err=True)
    typer.echo(made.text)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only the keys of this tenant.")] = None,
) -> None:
    """List the keys, the revoked ones included."""
    lines = [["KEY_ID", "TENANT", "SCOPES", "CREATED", "REVOKED", "NAME"]]
    lines += [_line(key) for key in on_store(lambda store: store.keys(tenant), may_begin=False).result]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `list` shows it, or the whole key.")]) -> None:
    """Revoke a key for good: its next request is refused."""
    key_id = key_id_in(key_id)
    revoked = on_store(lambda store: store.revoke_key(key_id, now=datetime.now(UTC)), may_begin=False).result
    if revoked is None:
        typer.echo(f"error: there is no key {key_id}; `python -m app keys list` names them", err=True)
        raise typer.Exit(1)
    typer.echo(f"key {revoked.key_id} of {revoked.tenant} is revoked since {_moment(revoked.revoked_at)}")


def _scopes(text: str) -> frozenset[Scope]:
    named = {part.strip() for part in text.split(",")}
    if not named <= set(SCOPES):
        raise typer.BadParameter(f"{text!r}; of {', '.join(SCOPES)} are expected", param_hint="--scopes")
    return frozenset(scope for scope in SCOPES if scope in named)


def _line(key: KeyRecord) -> list[str]:
    moments = _moment(key.created_at), _moment(key.revoked_at)
    return [key.key_id, key.tenant, _shown(key.scopes), *moments, key.name or ""]


def _shown(scopes: frozenset[Scope]) -> str:
    return ",".join(scope for scope in SCOPES if scope in scopes)


def _moment(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "-"
