"""What is stored of a tenant: counted on a connection that the caller holds."""

from sqlalchemy import Connection, func, select

from app.store.records import Usage
from app.store.tables import DatasetRow, ModelVersionRow, RevisionRow

_AFTER_SLASH = "0"
"""The character that follows the `/` between a tenant and the name of its own model."""


def usage(connection: Connection, tenant: str) -> Usage:
    """Return how many tasks a tenant has, and the bytes of their revisions, of data sets and of models of its own.

    What has expired and is not deleted yet counts.
    """
    tasks = select(func.count(RevisionRow.task_id.distinct())).where(RevisionRow.tenant == tenant).scalar_subquery()
    revisions = select(func.sum(RevisionRow.bytes)).where(RevisionRow.tenant == tenant).scalar_subquery()
    datasets = select(func.sum(DatasetRow.bytes)).where(DatasetRow.tenant == tenant).scalar_subquery()
    is_own = (ModelVersionRow.name >= f"{tenant}/") & (ModelVersionRow.name < f"{tenant}{_AFTER_SLASH}")
    models = select(func.sum(ModelVersionRow.bytes)).where(is_own).scalar_subquery()
    num_tasks, *num_bytes = connection.execute(select(tasks, revisions, datasets, models)).one()
    return Usage(num_tasks, sum(int(part or 0) for part in num_bytes))
