"""Models and their versions: queries inside a transaction that the caller holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import groupby

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, case, delete, func, literal, not_, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store.documents import as_stored, document_bytes
from app.store.foreign_errors import refused_as
from app.store.job_records import ANY_VERSION, ActiveVersionChanged, AnyVersion
from app.store.pages import check_limit, key_after, page_of
from app.store.records import Authority, Blob, Json, Model, ModelVersion
from app.store.tables import ModelRow, ModelVersionRow, Name, storable
from innerloop.errors import ModelNotFound, VersionInUse, VersionNotFound


@dataclass(frozen=True, slots=True)
class NewVersion:
    """Hold what a new version is made of, its card as stored and its sha256, made before the transaction begins."""

    name: str
    card: Json
    weights: Blob
    sha256: str


def hashed(name: str, card: Json, weights: Blob) -> NewVersion:
    """Hash the weights of a new version."""
    return NewVersion(name, as_stored(card), weights, sha256(weights).hexdigest())


def models(session: Session, own_prefix: str, after: str | None, limit: int) -> tuple[list[Model], str | None]:
    """Return a page of models by name; see `Store.models`."""
    check_limit(limit)
    rest = _without(own_prefix)
    query = select(ModelRow).where(_has_versions(), _is_seen(own_prefix)).order_by(rest).limit(limit + 1)
    name_after = key_after("models", after)
    if name_after is not None:
        query = query.where(rest > name_after)
    found = session.scalars(query).all()
    rows, cursor = page_of(found, limit, "models", lambda row: row.name.removeprefix(own_prefix))
    return _with_versions(session, rows), cursor


def model(session: Session, name: str) -> Model:
    """Return one model; ModelNotFound when there is none of that name."""
    row = session.scalar(select(ModelRow).where(ModelRow.name == name, _has_versions()))
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


def find_equal(session: Session, wanted: NewVersion) -> ModelVersion | None:
    """Return the oldest version of that name with these weights and an equal card."""
    query = select(ModelVersionRow).filter_by(name=wanted.name, sha256=wanted.sha256).order_by(ModelVersionRow.version)
    return next((_version_record(row) for row in session.scalars(query) if row.card == wanted.card), None)


def add_version(session: Session, new: NewVersion, now: datetime, *, activate_first: bool = True) -> ModelVersion:
    """Add a version under the next number, or find the equal one; the first one of a name becomes active if it may."""
    row = _locked_or_made(session, new.name, now)
    equal = find_equal(session, new)  # another replica may have been first
    if equal is not None:
        return equal
    row.last_version_ever += 1
    added = ModelVersionRow(
        name=new.name,
        version=row.last_version_ever,
        created_at=now,
        card=new.card,
        weights=new.weights,
        sha256=new.sha256,
        bytes=len(new.weights),
        card_bytes=document_bytes(new.card),
    )
    if not _num_versions(session, new.name):
        row.created_at = now
    session.add(added)
    if row.active_version is None and activate_first:
        row.active_version = added.version
    session.flush()
    return _version_record(added)


def promote(session: Session, name: str, version: int) -> Model:
    """Make a version active; ModelNotFound, VersionNotFound."""
    row = _locked(session, name)
    row.active_version = model_version(session, name, version).version
    return _with_versions(session, [row])[0]


def authority(session: Session, name: str) -> Authority:
    """Return what is stored of the revisions of a model; ModelNotFound."""
    found = session.scalar(select(ModelRow.authority).where(ModelRow.name == name, _has_versions()))
    if found is None:
        raise _no_model(name)
    return found


def set_authority(session: Session, name: str, authority: Authority) -> None:
    """Set what is stored of the revisions yet to be made of a model; ModelNotFound."""
    _locked(session, name).authority = authority


def expect_active(session: Session, name: str, expected: int | AnyVersion | None, now: datetime) -> None:
    """Keep the active version from changing until the transaction ends; ActiveVersionChanged when it is another."""
    active = _locked_or_made(session, name, now).active_version
    if expected not in (ANY_VERSION, active):
        raise ActiveVersionChanged(f"expected version {expected} of {name} to be active, got {active}")


def delete_version(session: Session, name: str, version: int) -> None:
    """Delete a version; see `Store.delete_model_version`."""
    row = _locked(session, name)
    number = model_version(session, name, version).version
    is_last = _num_versions(session, name) == 1
    if row.active_version == number and not is_last:
        raise VersionInUse(f"{name}@{number} is the active version; promote another one first")
    used = VersionInUse(f"revisions of tasks were adapted from {name}@{number}; delete those tasks first")
    with refused_as(used):
        session.execute(delete(ModelVersionRow).filter_by(name=name, version=number))
    if is_last:
        row.active_version = None
        row.authority = "weights"


def _locked(session: Session, name: str) -> ModelRow:
    row = session.get(ModelRow, name, with_for_update=True)
    if row is None or not _num_versions(session, name):
        raise _no_model(name)
    return row


def _num_versions(session: Session, name: str) -> int:
    return session.scalar(select(func.count()).select_from(ModelVersionRow).filter_by(name=name)) or 0


def _has_versions() -> ColumnElement[bool]:
    """Return as a condition that a model is there; one without a version is only the memory of its last number."""
    return select(ModelVersionRow.name).where(ModelVersionRow.name == ModelRow.name).exists()


def _without(prefix: str) -> SQLColumnExpression[str]:
    """Return a model's name without a prefix, where it begins with it."""
    if not prefix:
        return ModelRow.name
    rest = func.substr(ModelRow.name, len(prefix) + 1)
    return case((func.substr(ModelRow.name, 1, len(prefix)) == prefix, rest), else_=ModelRow.name)


def _is_seen(own_prefix: str) -> ColumnElement[bool]:
    """Return as a condition that a model is one of `Store.models`."""
    shared = ModelRow.name.not_like("%/%")
    if not own_prefix:
        return shared
    own_one = literal(own_prefix, Name).concat(ModelRow.name)
    has_own = select(ModelVersionRow.name).where(ModelVersionRow.name == own_one).exists()
    return or_(func.substr(ModelRow.name, 1, len(own_prefix)) == own_prefix, and_(shared, not_(has_own)))


def _locked_or_made(session: Session, name: str, now: datetime) -> ModelRow:
    row = session.get(ModelRow, name, with_for_update=True)
    if row is not None:
        return row
    made = ModelRow(name=name, active_version=None, created_at=now, last_version_ever=0, authority="weights")
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
    return [
        Model(row.name, row.active_version, row.created_at, versions.get(row.name, ()), row.authority) for row in rows
    ]


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
    if not _num_versions(session, name):
        return _no_model(name)
    if version is None:
        return ModelNotFound(f"{name} has no active version; POST /models/{name}/promote makes one active")
    return VersionNotFound(f"{name} has no version {version}; GET /models/{name} lists the versions")
