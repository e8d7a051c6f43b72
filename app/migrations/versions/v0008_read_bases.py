"""Bases that are read: of small regions more than are computed."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables from the version before to this one."""
    for table in ("computations", "shards"):
        op.add_column(table, sa.Column("read_bases", sa.BigInteger(), nullable=True))
    connection = op.get_bind()
    for table in ("computations", "shards"):
        connection.execute(sa.text(f"UPDATE {table} SET read_bases = bases"))  # noqa: S608
    _count_regions()
    for table in ("computations", "shards"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.alter_column("read_bases", existing_type=sa.BigInteger(), nullable=False)


def _count_regions() -> None:
    """What runs over regions say that is read for them; their shards get their share of it."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT computation_id, options FROM runs")).all()
    for row in rows:
        options = json.loads(row.options) if isinstance(row.options, str) else row.options
        read = (options.get("regions") or {}).get("read_bases")
        if read is None:
            continue
        values = {"id": row.computation_id, "read": read}
        connection.execute(
            sa.text("UPDATE computations SET read_bases = :read WHERE id = :id"), values
        )
        connection.execute(
            sa.text(
                "UPDATE shards SET read_bases = bases * :read / (SELECT c.bases FROM computations"
                " AS c WHERE c.id = :id) WHERE computation_id = :id AND kind = 'encode'"
            ),
            values,
        )


def downgrade() -> None:
    """Change the tables back."""
    for table in ("computations", "shards"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("read_bases")
