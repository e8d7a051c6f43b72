"""Queues of models, times of shards, and leases on jobs that one process does for all."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables from the version before to this one."""
    # workers report anew: their rows are worth nothing
    op.drop_table("workers")
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("queues", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.Float(precision=53), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.add_column("shards", sa.Column("started_at", sa.Float(precision=53), nullable=True))
    op.add_column("shards", sa.Column("finished_at", sa.Float(precision=53), nullable=True))
    op.add_column("computations", sa.Column("queue", sa.Text(), nullable=True))
    _name_queues()
    with op.batch_alter_table("computations", schema=None) as batch_op:
        batch_op.alter_column("queue", existing_type=sa.Text(), nullable=False)


def _name_queues() -> None:
    """Give every computation the queue of its model, as `app.broker.model_queue` does."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, parameters FROM computations")).all()
    for row in rows:
        values = json.loads(row.parameters) if isinstance(row.parameters, str) else row.parameters
        connection.execute(
            sa.text("UPDATE computations SET queue = :queue WHERE id = :id"),
            {"id": row.id, "queue": values["dictionary"]["model_sha256"][:16]},
        )


def downgrade() -> None:
    """Change the tables back."""
    with op.batch_alter_table("computations", schema=None) as batch_op:
        batch_op.drop_column("queue")
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.drop_column("finished_at")
        batch_op.drop_column("started_at")
    op.drop_table("leases")
    op.drop_table("workers")
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Float(precision=53), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
