"""Models and their versions: queries inside a transaction that the caller holds."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store.pages import check_limit, key_after, page_of
from app.store.records import Blob, Json, Model, ModelVersion
from app.store.tables import ModelRow, ModelVersionRow, storable
from innerloop.errors import ModelNotFound, VersionNotFound


def models(session: Session, after: str | None, limit: int) -> tuple[list[Model], str | None]:
    """Return a page of models by name."""
    check_limit(limit)
    query = select(ModelRow).order_by(ModelRow.name).limit(limit + 1)
    name_after = key_after("models", after)
    if name_after is not None:
        query = query.where(ModelRow.name > name_after)
    rows, cursor = page_of(session.scalars(query).all(), limit, "models", lambda row: row.name)
    return _with_versions(session, rows), cursor


def model(session: Session, name: str) -> Model:
    """Return one model; ModelNotFound when there is none of that name."""
    row = session.get(ModelRow, name)
    if row is None:
        raise _no_model(name)
    return _with_versions(session, [row])[0]


def model_version(session: Session, name: str, version: int | None) -> ModelVersion:
    """Return one version, the active one for None; ModelNotFound, VersionNotFound."""
    row = session.scalar(select(ModelVersionRow).join(ModelRow).where(*_is(name, version)))
    if row is None:
        raise _missing(session, name, version)
    return _version_record(row)


def model_weights(session: Session, name: str, version: int | None) -> Blob:
    """Return the weights of one version, the active one for None; ModelNotFound, VersionNotFound."""
    weights = session.scalar(select(ModelVersionRow.weights).join(ModelRow).where(*_is(name, version)))
    if weights is None:
        raise _missing(session, name, version)
    return weights


def find_equal(session: Session, name: str, card: Json, sha256: str) -> ModelVersion | None:
    """Return the oldest version of that name with these weights and an equal card."""
    query = select(ModelVersionRow).filter_by(name=name, sha256=sha256).order_by(ModelVersionRow.version)
    return next((_version_record(row) for row in session.scalars(query) if row.card == card), None)


def add_version(session: Session, name: str, card: Json, weights: Blob, sha256: str) -> ModelVersion:
    """Add a version under the next number; the first one of a name becomes active."""
    row = _locked_or_made(session, name)
    equal = find_equal(session, name, card, sha256)  # another replica may have been first
    if equal is not None:
        return equal
    newest = session.scalar(select(func.max(ModelVersionRow.version)).filter_by(name=name)) or 0
    added = ModelVersionRow(
        name=name,
        version=newest + 1,
        created_at=datetime.now(UTC),
        card=card,
        weights=weights,
        sha256=sha256,
        bytes=len(weights),
    )
    session.add(added)
    if row.active_version is None:
        row.active_version = added.version
    session.flush()
    return _version_record(added)


def promote(session: Session, name: str, version: int) -> Model:
    """Make a version active; ModelNotFound, VersionNotFound."""
    row = session.get(ModelRow, name, with_for_update=True)
    if row is None:
        raise _no_model(name)
    row.active_version = model_version(session, name, version).version
    return _with_versions(session, [row])[0]


def _locked_or_made(session: Session, name: str) -> ModelRow:
    row = session.get(ModelRow, name, with_for_update=True)
    if row is not None:
        return row
    made = ModelRow(name=name, active_version=None, created_at=datetime.now(UTC))
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError:  # somebody else made it since
        return session.get_one(ModelRow, name, with_for_update=True)
    return made


def _is(name: str, version: int | None) -> tuple[ColumnElement[bool], ...]:
    wanted = ModelRow.active_version if version is None else storable(version)
    return ModelVersionRow.name == name, ModelVersionRow.version == wanted


def _with_versions(session: Session, rows: Sequence[ModelRow]) -> list[Model]:
    query = select(ModelVersionRow).where(ModelVersionRow.name.in_([row.name for row in rows]))
    found = session.scalars(query.order_by(ModelVersionRow.name, ModelVersionRow.version))
    versions = {name: tuple(map(_version_record, of_name)) for name, of_name in groupby(found, lambda row: row.name)}
    return [Model(row.name, row.active_version, row.created_at, versions.get(row.name, ())) for row in rows]


def _version_record(row: ModelVersionRow) -> ModelVersion:
    return ModelVersion(
        name=row.name,
        version=row.version,
        created_at=row.created_at,
        card=row.card,
        sha256=row.sha256,
        bytes=row.bytes,
    )


def _no_model(name: str) -> ModelNotFound:
    return ModelNotFound(f"there is no model {name}; GET /models lists the names")


def _missing(session: Session, name: str, version: int | None) -> ModelNotFound | VersionNotFound:
    if version is None or session.get(ModelRow, name) is None:
        return _no_model(name)
    return VersionNotFound(f"{name} has no version {version}; GET /models/{name} lists the versions")
