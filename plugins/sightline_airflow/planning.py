"""How a run of `score_frames` is cut into jobs, and how far it is. Pure: Airflow's hook runs the statements.

    outstanding(selection) ──shards──► [(first, last, frames), ...]   at most so many frames each, in order of capture
                           └─remaining──► how many are still to be done
    the run's rows ──written──► how many the sink has stored

The condition is the job's own (inference.domain.scored), so that both mean the same by "missing". A planner that has not
asked the broker for offsets plans the frames that the stream has yet to read too; the job leaves those out.
"""

from __future__ import annotations

from inference.domain.scored import SETTLED_AFTER, Selection, Statement, champion, count, outstanding, written

__all__ = ["SETTLED_AFTER", "Selection", "Statement", "champion", "remaining", "shards", "written"]


def shards(selection: Selection, *, frames: int) -> Statement:
    """Rows (first, last, frames): the shards, none when nothing is outstanding.

    Args:
        selection: without `first` and `last`.
        frames: at most so many in a shard.
    """
    condition, parameters = outstanding(selection)
    # Text, since not every Postgres has min(uuid); "C" sorts it as uuids are sorted.
    sql = f"""
WITH chosen AS (
    SELECT frames.frame_id::text COLLATE "C" AS frame_id,
        (row_number() OVER (ORDER BY frames.frame_id) - 1) / %(shard_frames)s AS shard
    FROM frames
    WHERE {condition}
)
SELECT min(frame_id) AS first, max(frame_id) AS last, count(*) AS frames FROM chosen GROUP BY shard ORDER BY shard
"""  # noqa: S608 - constants
    return sql, parameters | {"shard_frames": frames}


def remaining(selection: Selection) -> Statement:
    """One row, one number: the frames that are still to be done."""
    return count(selection)
