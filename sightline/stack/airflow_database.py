"""Airflow's tables and its pool of GPUs. Run by Airflow's own Python; harmless when repeated.

    python airflow_database.py POOL SLOTS

In one process, where `airflow db migrate` and `airflow pools set` would start Airflow twice.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Migrates, then makes the pool."""
    pool, slots = sys.argv[1], int(sys.argv[2])
    from airflow.models.pool import Pool
    from airflow.utils import db
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded

    def prepare() -> None:
        db.initdb()
        # A deferred task's pod holds its GPU all the same.
        Pool.create_or_update_pool(name=pool, slots=slots, description="jobs on a GPU", include_deferred=True)

    providers_configuration_loaded(prepare)()


if __name__ == "__main__":
    main()
