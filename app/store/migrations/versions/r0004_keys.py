"""Make the tables of keys and of the audit log, and an index to count what a tenant has stored by."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What the tables are at this revision, whatever app.store.tables says later.
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _make_keys()
    _make_audit()
    op.create_index("ix_revisions_usage", "revisions", ["tenant", "bytes"])


def _make_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", NAME, primary_key=True),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT),
    )
    op.create_index("ix_api_keys_sha256", "api_keys", ["sha256"], unique=True)
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant", "key_id"])


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("entry_id", NAME, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("key_id", NAME),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("task_id", NAME, nullable=False),
        sa.Column("revision", sa.Integer()),
        sa.Column("request_id", sa.String()),
    )
    op.create_index("ix_audit_tenant", "audit", ["tenant", "entry_id"])
    op.create_index("ix_audit_task", "audit", ["tenant", "task_id", "entry_id"])
