"""What was seen of a champion since its promotion, for the watch window.

predictions of the version, of frames captured in the window ─► answered, failed, detections, latency
frames of a partition between the first and the last answered ─► passed over: they failed too
predictions of the previous champion on the same frames      ─► agreement
reviews of these frames                                      ─► precision

A frame without an answer counts as passed over only once an earlier and a later one of its partition have one: a worker
that is behind, away, or still on the previous champion is no fault of the model's. One worker at a time has a partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from contracts.times import as_stored
from inference.domain.agreement import agreement
from inference.domain.detections import Detections
from inference.domain.watch_window import Figures
from inference.persistence.agreement import agreement_between
from inference.persistence.database import Connection

MOST_FRAMES: Final = 5000  # the newest that are compared
MOST_REVIEWS: Final = 1000  # likewise
ON_THE_WAY: Final = timedelta(seconds=60)  # so long may a prediction take from the topic to its row

_RANGE: Final = "{0}.frame_id >= uuid7_floor(%(since)s) AND {0}.frame_id < uuid7_floor(%(until)s)"
_OURS: Final = f"(one.model_name, one.model_version) = (%(model)s, %(version)s) AND {_RANGE.format('one')}"
_ANSWERED: Final = f"""
    SELECT count(*), count(*) FILTER (WHERE one.status <> 'ok'),
        (avg(cardinality(one.labels)) FILTER (WHERE one.status = 'ok'))::float,
        count(*) FILTER (WHERE one.role = 'champion'),
        percentile_cont(0.99) WITHIN GROUP (ORDER BY one.latency_ms::float) FILTER (WHERE one.role = 'champion')
    FROM predictions AS one WHERE {_OURS}
"""  # noqa: S608 - texts of our own; latency as in statistics.py: what a batch job scores later says nothing of the stream
_PASSED_OVER: Final = f"""
    WITH reached AS (
        SELECT frames.kafka_partition, min(frames.kafka_offset) AS first, max(frames.kafka_offset) AS last
        FROM frames JOIN predictions AS one ON one.frame_id = frames.frame_id
        WHERE {_RANGE.format("frames")} AND {_OURS} AND one.role = 'champion' GROUP BY 1
    )
    SELECT count(*) FROM frames JOIN reached USING (kafka_partition)
    WHERE {_RANGE.format("frames")} AND frames.frame_id < uuid7_floor(%(arrived)s)
        AND frames.kafka_offset > reached.first AND frames.kafka_offset < reached.last
        AND NOT EXISTS (SELECT FROM predictions AS one WHERE one.frame_id = frames.frame_id AND {_OURS})
"""  # noqa: S608
_REVIEWED: Final = f"""
    SELECT DISTINCT ON (one.frame_id) one.labels, one.confidences, one.boxes, said.labels, said.boxes
    FROM predictions AS one JOIN standing_reviews AS said ON said.frame_id = one.frame_id
    WHERE {_OURS} AND one.status = 'ok' AND said.verdict <> 'unusable'
    ORDER BY one.frame_id DESC, said.review_id DESC LIMIT {MOST_REVIEWS}
"""  # noqa: S608


def read(
    connection: Connection,
    *,
    model: str,
    version: str,
    previous: str,
    since: datetime,
    until: datetime,
    most: int = MOST_FRAMES,
) -> Figures:
    """What was seen of a version in the frames captured in [since, until).

    Args:
        connection: its transaction is only read in.
        model: the registered model's name.
        version: the champion that is watched.
        previous: the champion before it, looking at the same frames.
        since: aware.
        until: aware.
        most: frames that are compared, the newest.
    """
    given: dict[str, Any] = {
        "model": model,
        "version": version,
        "since": as_stored(since),
        "until": as_stored(until),
        "arrived": as_stored(until - ON_THE_WAY),
    }
    answered = connection.execute(_ANSWERED, given).fetchone()
    [(passed_over,)] = connection.execute(_PASSED_OVER, given).fetchall()
    frames, failed, detections, stream_frames, p99_ms = answered or (0, 0, None, 0, None)
    compared = agreement_between(connection, model, first=previous, second=version, since=since, until=until, most=most)
    reviewed = agreement(_reviewed(connection, given))
    right, predicted = reviewed.agreed, reviewed.agreed + reviewed.label_flips + reviewed.missing
    return Figures(
        frames=frames + passed_over,
        failed=failed + passed_over,
        detections_per_frame=detections,
        stream_frames=stream_frames,
        p99_ms=p99_ms,
        compared_frames=compared.frames,
        agreement=compared.share,
        reviews=reviewed.frames,
        precision=right / predicted if predicted else None,
    )


def _reviewed(connection: Connection, given: dict[str, Any]) -> Iterator[tuple[Detections, Detections]]:
    """What the version saw in each reviewed frame, and what the newest review that stands says is there."""
    for labels, confidences, boxes, true_labels, true_boxes in connection.execute(_REVIEWED, given):
        yield (
            Detections.of(labels, confidences, boxes),
            Detections.of(true_labels, [1.0] * len(true_labels), true_boxes),
        )
