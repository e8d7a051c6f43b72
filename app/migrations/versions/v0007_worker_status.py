"""What workers say of themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables from the version before to this one."""
    op.add_column("workers", sa.Column("status", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Change the tables back."""
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_column("status")
