"""Let a revision do without weights, and a model say whether its revisions do."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What the table is at this revision, whatever app.store.tables says later.
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
IS_AUTHORITY = "authority IN ('weights', 'rows')"
IS_WHOLE = "(weights IS NULL) = (authority = 'rows')"
SMALL = (
    "tenant, task_id, revision, model, model_version, bytes, support_size, support_sha256, weights_sha256, "
    "created_at, classes, settings, answer"
)


def upgrade() -> None:
    op.execute(
        "ALTER TABLE models ADD COLUMN authority VARCHAR DEFAULT 'weights' NOT NULL "
        f"CONSTRAINT ck_models_authority CHECK ({IS_AUTHORITY})"
    )
    if op.get_bind().dialect.name == "sqlite":
        _make_revisions_anew()
    else:
        _alter_revisions()


def _alter_revisions() -> None:
    op.drop_constraint("ck_revisions_authority", "revisions")
    op.alter_column("revisions", "weights", nullable=True)
    op.alter_column("revisions", "weights_sha256", nullable=True)
    op.execute("UPDATE revisions SET authority = 'weights'")  # all of them have theirs stored
    op.create_check_constraint("ck_revisions_authority", "revisions", IS_AUTHORITY)
    op.create_check_constraint("ck_revisions_weights", "revisions", IS_WHOLE)


def _make_revisions_anew() -> None:
    """Copy the table, as SQLite changes no column in its place."""
    op.create_table(
        "revisions_anew",
        sa.Column("tenant", NAME, primary_key=True),
        sa.Column("task_id", NAME, primary_key=True),
        sa.Column("revision", sa.Integer(), primary_key=True),
        sa.Column("model", NAME, nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("support_size", sa.Integer(), nullable=False),
        sa.Column("support_sha256", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("classes", sa.JSON()),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("support", sa.LargeBinary(), nullable=False),
        sa.Column("weights", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["tenant", "task_id"], ["tasks.tenant", "tasks.task_id"]),
        sa.ForeignKeyConstraint(["model", "model_version"], ["model_versions.name", "model_versions.version"]),
        sa.CheckConstraint(IS_AUTHORITY, name="ck_revisions_authority"),
        sa.CheckConstraint(IS_WHOLE, name="ck_revisions_weights"),
    )
    op.execute(
        f"INSERT INTO revisions_anew (authority, {SMALL}, support, weights) "
        f"SELECT 'weights', {SMALL}, support, weights FROM revisions"
    )
    op.drop_table("revisions")
    op.rename_table("revisions_anew", "revisions")
    op.create_index("ix_revisions_model", "revisions", ["model", "model_version"])
