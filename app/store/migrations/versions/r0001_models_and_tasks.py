"""Make the tables of models, tasks, revisions and idempotent answers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# What the tables are at this revision, whatever app.store.tables says later.
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _make_models()
    _make_tasks()
    _make_revisions()
    _make_idempotent_answers()


def _make_models() -> None:
    op.create_table(
        "models",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("active_version", sa.Integer()),
        sa.Column("created_at", MOMENT, nullable=False),
    )
    op.create_table(
        "model_versions",
        sa.Column("name", NAME, sa.ForeignKey("models.name"), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("weights", sa.LargeBinary(), nullable=False),
    )


def _make_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("tenant", NAME, primary_key=True),
        sa.Column("task_id", NAME, primary_key=True),
        sa.Column("model", NAME),
        sa.Column("latest_revision", sa.Integer(), nullable=False),
        sa.Column("last_revision_ever", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
    )
    op.create_index("ix_tasks_model", "tasks", ["tenant", "model", "task_id"])
    op.create_index("ix_tasks_expires_at", "tasks", ["expires_at"])


def _make_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("tenant", NAME, primary_key=True),
        sa.Column("task_id", NAME, primary_key=True),
        sa.Column("revision", sa.Integer(), primary_key=True),
        sa.Column("model", NAME, nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("support_size", sa.Integer(), nullable=False),
        sa.Column("support_sha256", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("classes", sa.JSON()),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("support", sa.LargeBinary(), nullable=False),
        sa.Column("weights", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["tenant", "task_id"], ["tasks.tenant", "tasks.task_id"]),
        sa.ForeignKeyConstraint(["model", "model_version"], ["model_versions.name", "model_versions.version"]),
        sa.CheckConstraint("authority IN ('weights', 'support')", name="ck_revisions_authority"),
    )


def _make_idempotent_answers() -> None:
    op.create_table(
        "idempotent_answers",
        sa.Column("tenant", NAME, primary_key=True),
        sa.Column("route", NAME, primary_key=True),
        sa.Column("key", NAME, primary_key=True),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("task_id", NAME),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
    )
    op.create_index("ix_idempotent_answers_task", "idempotent_answers", ["tenant", "task_id"])
    op.create_index("ix_idempotent_answers_created_at", "idempotent_answers", ["created_at"])
