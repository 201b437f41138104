"""Keeps the sinks going: restarts what failed, waits for stores that are away, keeps the day partitions ahead.

    Connect, stores ──► observe ──► decide (pure) ──► act: restart, configure again, give up with the reason
    Postgres ◄── ensure_partitions() at the start and every minute

Runs as `python -m connectors.watchdog`.
"""
