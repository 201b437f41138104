"""Runs the migrations on the connection that inference.persistence.schema.migrate hands over.

There is no offline mode.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
