"""Sparkplug host: kinds of members, rules of last values, edge nodes, STATE, lease, commands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "gateways",
        sa.Column("kind", sa.String(length=20), server_default="gateway", nullable=False),
    )
    # SQLite enforces no length, and could only copy the table, which other tables refer to
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column(
            "gateways", "id", existing_type=sa.String(length=40), type_=sa.String(length=1300)
        )
    op.add_column(
        "epochs",
        sa.Column("last_rule", sa.String(length=20), server_default="newest", nullable=False),
    )
    op.create_table(
        "edge_nodes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("group_id", sa.String(length=200), nullable=False),
        sa.Column("node_id", sa.String(length=200), nullable=False),
        sa.Column("server", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=50), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("bd_seq", sa.BigInteger(), nullable=True),
        sa.Column("last_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("births_count", sa.BigInteger(), nullable=False),
        sa.Column("rebirths_requested_count", sa.BigInteger(), nullable=False),
        sa.Column("not_stored", sa.String(length=100), nullable=False),
        sa.Column("drops", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edge_nodes")),
        sa.UniqueConstraint("group_id", "node_id", name=op.f("uq_edge_nodes_group_id")),
    )
    op.create_table(
        "edge_scopes",
        sa.Column("edge_node_id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=50), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("births_count", sa.BigInteger(), nullable=False),
        sa.Column("metrics_count", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["edge_node_id"],
            ["edge_nodes.id"],
            name=op.f("fk_edge_scopes_edge_node_id_edge_nodes"),
        ),
        sa.PrimaryKeyConstraint("edge_node_id", "device", name=op.f("pk_edge_scopes")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("holder", sa.String(length=300), nullable=False),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "sparkplug_states",
        sa.Column("host_id", sa.String(length=200), nullable=False),
        sa.Column("server", sa.String(length=300), nullable=False),
        sa.Column("state_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "server", name=op.f("pk_sparkplug_states")),
    )
    op.create_table(
        "sparkplug_commands",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=100), nullable=False),
        sa.Column("group_id", sa.String(length=200), nullable=False),
        sa.Column("node_id", sa.String(length=200), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sparkplug_commands")),
    )
    with op.batch_alter_table("sparkplug_commands", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sparkplug_commands_created_us"), ["created_us"], unique=False
        )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("sparkplug_commands", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sparkplug_commands_created_us"))
    op.drop_table("sparkplug_commands")
    op.drop_table("sparkplug_states")
    op.drop_table("leases")
    op.drop_table("edge_scopes")
    op.drop_table("edge_nodes")
    # plain SQL: batch mode would copy tables that others refer to
    op.execute("ALTER TABLE epochs DROP COLUMN last_rule")
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column(
            "gateways", "id", existing_type=sa.String(length=1300), type_=sa.String(length=40)
        )
    op.execute("ALTER TABLE gateways DROP COLUMN kind")
