"""Ledger entries that close others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("losses") as losses:
        losses.add_column(sa.Column("closes", sa.Integer(), nullable=True))
        losses.create_index("ix_losses_closes", ["epoch_id", "closes"])


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("losses") as losses:
        losses.drop_index("ix_losses_closes")
        losses.drop_column("closes")
