"""First tables: runs, computations, shards, workers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables from the version before to this one."""
    op.create_table(
        "computations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=True),
        sa.Column("finished_at", sa.Float(precision=53), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("dictionary_id", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("lengths", sa.JSON(), nullable=False),
        sa.Column("bases", sa.BigInteger(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=True),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'INITIALIZING', 'RUNNING', 'COMPLETE', "
            "'EXECUTOR_ERROR', 'SYSTEM_ERROR', 'CANCELED')",
            name=op.f("ck_computations_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_computations")),
    )
    with op.batch_alter_table("computations", schema=None) as batch_op:
        batch_op.create_index("uq_computations_digest_scope", ["digest", "scope"], unique=True)

    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Float(precision=53), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("canceled_at", sa.Float(precision=53), nullable=True),
        sa.Column("computation_id", sa.Text(), nullable=False),
        sa.Column("contig_names", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["computation_id"],
            ["computations.id"],
            name=op.f("fk_runs_computation_id_computations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(op.f("ix_runs_computation_id"), ["computation_id"], unique=False)
        batch_op.create_index(
            "ix_runs_owner_created_at", ["owner", "created_at", "id"], unique=False
        )

    op.create_table(
        "shards",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("computation_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("spans", sa.JSON(), nullable=False),
        sa.Column("bases", sa.BigInteger(), nullable=False),
        sa.Column("bases_done", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Float(precision=53), nullable=True),
        sa.Column("published_at", sa.Float(precision=53), nullable=True),
        sa.Column("results", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('encode', 'merge')", name=op.f("ck_shards_kind")),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'RUNNING', 'COMPLETE', 'FAILED', 'CANCELED')",
            name=op.f("ck_shards_state"),
        ),
        sa.ForeignKeyConstraint(
            ["computation_id"],
            ["computations.id"],
            name=op.f("fk_shards_computation_id_computations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shards")),
    )
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.create_index("ix_shards_state", ["state", "published_at"], unique=False)
        batch_op.create_index(
            "uq_shards_computation_id_position", ["computation_id", "position"], unique=True
        )


def downgrade() -> None:
    """Change the tables back."""
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.drop_index("uq_shards_computation_id_position")
        batch_op.drop_index("ix_shards_state")

    op.drop_table("shards")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_owner_created_at")
        batch_op.drop_index(op.f("ix_runs_computation_id"))

    op.drop_table("runs")
    op.drop_table("workers")
    with op.batch_alter_table("computations", schema=None) as batch_op:
        batch_op.drop_index("uq_computations_digest_scope")

    op.drop_table("computations")
