"""Make the tables of data sets and jobs; let a model remember its last number."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What the tables are at this revision, whatever app.store.tables says later.
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _remember_last_versions()
    _make_data_sets()
    _make_jobs()
    _make_what_jobs_write()


def _remember_last_versions() -> None:
    op.add_column("models", sa.Column("last_version_ever", sa.Integer(), nullable=False, server_default="0"))
    newest = "SELECT MAX(version) FROM model_versions WHERE model_versions.name = models.name"
    op.execute(f"UPDATE models SET last_version_ever = COALESCE(({newest}), 0)")
    # Whoever deletes a version looks here for what uses it.
    op.create_index("ix_revisions_model", "revisions", ["model", "model_version"])


def _make_data_sets() -> None:
    op.create_table(
        "data_sets",
        sa.Column("tenant", NAME, primary_key=True),
        sa.Column("name", NAME, primary_key=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", NAME, primary_key=True),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("dataset", NAME),
        sa.Column("dataset_sha256", sa.String()),
        sa.Column("model_version", sa.Integer()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("worker", sa.String()),
        sa.Column("lease_until", MOMENT),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("furthest_iteration", sa.Integer(), nullable=False),
        sa.Column("last_event", sa.Integer(), nullable=False),
        sa.Column("error", sa.JSON()),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="ck_jobs_status"
        ),
    )
    op.create_index("ix_jobs_queue", "jobs", ["status", "created_at"])
    op.create_index("ix_jobs_list", "jobs", ["tenant", "created_at", "job_id"])


def _make_what_jobs_write() -> None:
    op.create_table(
        "job_events",
        sa.Column("job_id", NAME, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("event_id", sa.Integer(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.CheckConstraint("kind IN ('progress', 'status', 'end')", name="ck_job_events_kind"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("job_id", NAME, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
