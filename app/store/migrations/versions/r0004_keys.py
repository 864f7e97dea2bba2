"""Make the tables of keys and of the audit log, and count what a tenant has stored and whose turn its jobs have.

What is there already belongs to the tenant that everybody was, which has no limits before there are keys: its documents
count as nothing.
"""

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
    _count_documents()
    _add_to_jobs()


def _count_documents() -> None:
    for table, column in (("revisions", "document_bytes"), ("model_versions", "card_bytes")):
        op.add_column(table, sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_revisions_usage", "revisions", ["tenant", "bytes", "document_bytes"])
    op.create_index("ix_model_versions_usage", "model_versions", ["name", "bytes", "card_bytes"])
    answers = "idempotent_answers"
    op.add_column(answers, sa.Column("bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_idempotent_answers_usage", answers, ["tenant", "bytes"])


def _add_to_jobs() -> None:
    op.add_column("jobs", sa.Column("claimed_at", MOMENT))
    op.add_column("jobs", sa.Column("is_purged", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_jobs_turns", "jobs", ["tenant", "claimed_at"])
    op.create_index("ix_jobs_purge", "jobs", ["is_purged", "finished_at"])


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
