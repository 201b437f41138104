"""Alembic's migrations. Landed ones never change: the next change is the next file in versions/."""
