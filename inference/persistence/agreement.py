"""How far two versions agreed on the frames that both looked at, out of their stored predictions.

predictions of version A ┐
                         ├─ same frame_id, both ok ─► what each saw ─► domain.agreement
predictions of version B ┘
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from contracts.times import as_stored
from inference.domain import agreement as domain
from inference.domain.agreement import Agreement
from inference.domain.detections import Detections
from inference.persistence.database import Connection

MOST_FRAMES: Final = 5000  # the newest; more would tell the same and cost a replica its second

# The bounds on frame_id, whose first bits are the capture time, leave all other day partitions alone.
_BOTH: Final = """
SELECT one.labels, one.confidences, one.boxes, other.labels, other.confidences, other.boxes
FROM predictions AS one
JOIN predictions AS other ON other.frame_id = one.frame_id
WHERE one.frame_id >= uuid7_floor(%(since)s) AND one.frame_id < uuid7_floor(%(until)s)
    AND other.frame_id >= uuid7_floor(%(since)s) AND other.frame_id < uuid7_floor(%(until)s)
    AND (one.model_name, one.model_version, one.status) = (%(model)s, %(first)s, 'ok')
    AND (other.model_name, other.model_version, other.status) = (%(model)s, %(second)s, 'ok')
ORDER BY one.frame_id DESC
LIMIT %(most)s
"""


def agreement_between(
    connection: Connection,
    model: str,
    *,
    first: str,
    second: str,
    since: datetime,
    until: datetime,
    most: int = MOST_FRAMES,
) -> Agreement:
    """The agreement of two versions on frames captured in [since, until), at most the newest `most` of them.

    Args:
        connection: its transaction is only read in.
        model: the registered model's name.
        first: the version that is the measure: usually the champion.
        second: the version that is compared with it.
        since: aware.
        until: aware.
        most: frames.
    """
    return domain.agreement(_pairs(connection, model, first=first, second=second, since=since, until=until, most=most))


def _pairs(
    connection: Connection, model: str, *, first: str, second: str, since: datetime, until: datetime, most: int
) -> Iterator[tuple[Detections, Detections]]:
    given = {
        "model": model,
        "first": first,
        "second": second,
        "since": as_stored(since),
        "until": as_stored(until),
        "most": most,
    }
    for row in connection.execute(_BOTH, given):
        yield Detections.of(*row[:3]), Detections.of(*row[3:])
