"""The part of the store that keeps data sets; `store` says what holds for all of its operations."""

from datetime import datetime

from app.store import datasets
from app.store.database import Database
from app.store.records import DatasetRecord, NewDataset


class DatasetStore:
    """Keep data sets, each of a tenant."""

    _database: Database

    def add_dataset(self, new: NewDataset, *, now: datetime) -> tuple[DatasetRecord, bool]:
        """Add a data set, or find the one of that name with equal data and spec; return it and whether it is new.

        DatasetExists when the name belongs to another one.
        """
        with self._database.read() as session:  # what is there need not be sent again
            found = datasets.find_equal(session, new)
        if found is not None:
            return found, False
        with self._database.write() as session:
            return datasets.add(session, new, now)

    def datasets(
        self, tenant: str, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[DatasetRecord], str | None]:
        """Return a page of a tenant's data sets by name."""
        with self._database.read() as session:
            return datasets.datasets(session, tenant, after, limit)

    def dataset(self, tenant: str, name: str) -> DatasetRecord:
        """Return a data set without its data; DatasetNotFound."""
        with self._database.read() as session:
            return datasets.dataset(session, tenant, name)

    def dataset_bytes(self, tenant: str, name: str) -> bytes:
        """Return the data of a data set; DatasetNotFound."""
        with self._database.read() as session:
            return datasets.dataset_bytes(session, tenant, name)

    def delete_dataset(self, tenant: str, name: str) -> None:
        """Delete a data set; DatasetNotFound, DatasetInUse while a queued or running job uses it."""
        with self._database.write() as session:
            datasets.delete_dataset(session, tenant, name)
        self._database.forget_deleted()
