"""Which rows of `serving` are of processes that are alive, as SQL that the services and Airflow share. Pure.

row ── updated less than so many seconds ago, by the database's clock ──► alive
"""

from __future__ import annotations

from typing import Final

# Put it behind WHERE; %(seconds)s is a parameter.
ALIVE: Final = "updated_at > (clock_timestamp() AT TIME ZONE 'UTC') - make_interval(secs => %(seconds)s)"
