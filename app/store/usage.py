"""What is stored of a tenant: counted on a connection that the caller holds, by indexes that hold the sizes."""

from sqlalchemy import Connection, func, select

from app.store.records import Usage
from app.store.tables import CheckpointRow, DatasetRow, IdempotentAnswerRow, JobRow, ModelVersionRow, RevisionRow

_AFTER_SLASH = "0"
"""The character that follows the `/` between a tenant and the name of its own model."""


def usage(connection: Connection, tenant: str) -> Usage:
    """Return how many tasks a tenant has, and the bytes of all of `Usage.num_bytes`.

    What has expired and is not deleted yet counts.
    """
    tasks = select(func.count(RevisionRow.task_id.distinct())).where(RevisionRow.tenant == tenant)
    revisions = select(func.sum(RevisionRow.bytes + RevisionRow.document_bytes)).where(RevisionRow.tenant == tenant)
    answers = select(func.sum(IdempotentAnswerRow.bytes)).where(IdempotentAnswerRow.tenant == tenant)
    datasets = select(func.sum(DatasetRow.bytes)).where(DatasetRow.tenant == tenant)
    checkpoints = select(func.sum(CheckpointRow.bytes)).join(JobRow).where(JobRow.tenant == tenant)
    is_own = (ModelVersionRow.name >= f"{tenant}/") & (ModelVersionRow.name < f"{tenant}{_AFTER_SLASH}")
    models = select(func.sum(ModelVersionRow.bytes + ModelVersionRow.card_bytes)).where(is_own)
    counted = (tasks, revisions, answers, datasets, checkpoints, models)
    num_tasks, *num_bytes = connection.execute(select(*(one.scalar_subquery() for one in counted))).one()
    return Usage(num_tasks, sum(int(part or 0) for part in num_bytes))
