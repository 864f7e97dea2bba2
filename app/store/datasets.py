"""Data sets: queries inside a transaction that the caller holds."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store.documents import as_stored
from app.store.foreign_errors import unavailable
from app.store.job_states import UNFINISHED
from app.store.pages import check_limit, key_after, page_of
from app.store.records import Blob, DatasetRecord, NewDataset
from app.store.tables import DatasetRow, JobRow
from innerloop.errors import DatasetExists, DatasetInUse, DatasetNotFound


def datasets(session: Session, tenant: str, after: str | None, limit: int) -> tuple[list[DatasetRecord], str | None]:
    """Return a page of a tenant's data sets by name."""
    check_limit(limit)
    query = select(DatasetRow).filter_by(tenant=tenant).order_by(DatasetRow.name).limit(limit + 1)
    name_after = key_after("datasets", after)
    if name_after is not None:
        query = query.where(DatasetRow.name > name_after)
    rows, cursor = page_of(session.scalars(query).all(), limit, "datasets", lambda row: row.name)
    return [_record(row) for row in rows], cursor


def dataset(session: Session, tenant: str, name: str) -> DatasetRecord:
    """Return one data set; DatasetNotFound."""
    row = session.get(DatasetRow, (tenant, name))
    if row is None:
        raise _no_dataset(name)
    return _record(row)


def dataset_bytes(session: Session, tenant: str, name: str) -> Blob:
    """Return the data of one data set; DatasetNotFound."""
    data = session.scalar(select(DatasetRow.data).filter_by(tenant=tenant, name=name))
    if data is None:
        raise _no_dataset(name)
    return data


def find_equal(session: Session, new: NewDataset) -> DatasetRecord | None:
    """Return the data set of that name, None when there is none; DatasetExists when it is another."""
    row = session.get(DatasetRow, (new.tenant, new.name))
    if row is None:
        return None
    if (row.sha256, row.spec) != (new.sha256, as_stored(new.spec)):
        detail = f"there is a data set {row.name} with other content or another spec"
        raise DatasetExists(f"{detail}; take another name, or delete that one first")
    return _record(row)


def add(session: Session, new: NewDataset, now: datetime) -> tuple[DatasetRecord, bool]:
    """Add a data set or find the equal one, and return it and whether it is new; DatasetExists."""
    found = find_equal(session, new)
    if found is not None:
        return found, False
    added = _row(new, now)
    try:
        with session.begin_nested():
            session.add(added)
    except IntegrityError as error:  # somebody else added it since
        found = find_equal(session, new)
        if found is None:  # and somebody else deleted it again
            raise unavailable(f"the data set {new.name} is being deleted; try again") from error
        return found, False
    return _record(added), True


def sha256_for_job(session: Session, tenant: str, name: str) -> str:
    """Return a data set's sha256 and keep others from deleting it until the transaction ends; DatasetNotFound."""
    row = session.get(DatasetRow, (tenant, name), with_for_update={"read": True})
    if row is None:
        raise _no_dataset(name)
    return row.sha256


def delete_dataset(session: Session, tenant: str, name: str) -> None:
    """Delete a data set; DatasetNotFound, DatasetInUse while a job that has not ended uses it."""
    # A job that is being added holds this row until it can be seen; later ones find the row gone.
    if session.get(DatasetRow, (tenant, name), with_for_update=True) is None:
        raise _no_dataset(name)
    users = select(JobRow.job_id).filter_by(tenant=tenant, dataset=name).where(JobRow.status.in_(UNFINISHED))
    user = session.scalar(users.limit(1))
    if user is not None:
        raise DatasetInUse(f"job {user} uses the data set {name}; cancel the job or wait for its end")
    session.execute(delete(DatasetRow).filter_by(tenant=tenant, name=name))


def _row(new: NewDataset, now: datetime) -> DatasetRow:
    return DatasetRow(
        tenant=new.tenant,
        name=new.name,
        created_at=now,
        kind=new.kind,
        sha256=new.sha256,
        bytes=len(new.data),
        spec=as_stored(new.spec),
        info=as_stored(new.info),
        data=new.data,
    )


def _record(row: DatasetRow) -> DatasetRecord:
    return DatasetRecord(
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at,
        kind=row.kind,
        sha256=row.sha256,
        bytes=row.bytes,
        spec=row.spec,
        info=row.info,
    )


def _no_dataset(name: str) -> DatasetNotFound:
    return DatasetNotFound(f"there is no data set {name}; GET /datasets lists the names")
