"""Runs say what of their gene annotation was not used."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables from the version before to this one."""
    op.add_column("runs", sa.Column("annotation_skipped", sa.JSON(), nullable=True))
