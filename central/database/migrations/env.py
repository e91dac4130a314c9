"""Alembic's entry: run on the connection that ``Database.migrate`` passes in."""

from __future__ import annotations

from alembic import context

from central.database.engine import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
