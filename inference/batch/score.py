"""Scores stored frames: fills gaps, re-scores history, replays a range through any version.

    rows of outstanding frames ──prefetch──► images ──engine──► predictions ──► topic ──► acknowledged ──► result
    (Postgres, page by page)     (S3)        (as the stream)     role batch, run_id

Run it again after anything: what is written is left out, what was sent but not written yet is sent again, and one row per
frame and version is the end of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import uuid_utils

from connectors.kafka import assert_topics, make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from connectors.topic_figures import committed_offsets
from contracts.errors import Misconfigured
from contracts.identifiers import UUID, milliseconds
from contracts.records import Record
from contracts.settings import Settings
from contracts.topics import FRAMES, PREDICTIONS
from inference.batch.job import Result, Say
from inference.batch.objects import Lost, read, see
from inference.batch.prefetch import READERS, Prefetch
from inference.batch.progress import Progress
from inference.batch.sending import PATIENCE_SECONDS, Sender
from inference.batch.span import add_span, span_of
from inference.batch.which_model import champion_of, number_of, ready
from inference.domain.promotion import CHAMPION
from inference.domain.scored import SETTLED_AFTER, Selection
from inference.persistence.objects import FrameStore
from inference.persistence.outstanding import FrameToScore, frames_of, how_many, how_many_written
from inference.serving.scoring import predictions, score
from inference.serving.served_models import ServedModel

ABOUT: Final = (
    "Scores stored frames that were missed, or all of a range once more, through the champion or any version."
)

_BROKER_SECONDS: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See job."""
    add_span(parser, required=True)
    parser.add_argument("--camera", action="append", default=[], help="only this camera's frames; repeatable")
    parser.add_argument("--alias", default=CHAMPION, help="who scores: champion, or another alias")
    parser.add_argument("--version", metavar="N", help="who scores: this version, whatever the alias says")
    parser.add_argument("--only", choices=("missing", "all"), default="missing", help="missing: not scored; all: again")
    parser.add_argument("--first", metavar="FRAME_ID", help="of the shard; inclusive")
    parser.add_argument("--last", metavar="FRAME_ID", help="of the shard; inclusive")
    parser.add_argument(
        "--explicit",
        action="store_true",
        help="the range as it is: young frames and those the stream has yet to read too",
    )
    parser.add_argument("--run-id", help="of this run: what it wrote is not done again; one is made up unless given")


def run(settings: Settings, given: argparse.Namespace, say: Say) -> Result:
    """See job. Frames whose image is gone are named, and the rest is done all the same.

    Raises:
        Rejected: there is no such version.
        Transient: Postgres, the object store, the broker, the schema registry or MLflow is away.
        Misconfigured: an argument or a setting does not fit.
    """
    selection = asked(given, model=settings.mlflow.model_name)
    number = number_of(settings, version=given.version, alias=given.alias)
    selection = replace(selection, version=number, **_left_to_the_stream(settings, explicit=given.explicit))
    if selection.only == "missing" and not settings.serving.follows_ledger and settings.stream.model_folder is None:
        selection = replace(selection, champion=champion_of(settings))
    planned, already = how_many(settings, selection), how_many_written(settings, selection)
    facts = {"run_id": selection.run_id, "model": selection.model, "version": number, "already": already}
    say(f"run {selection.run_id}: {planned} frames for version {number} of {selection.model}")
    if not planned:
        return Progress(say, planned=0).result(facts)
    assert_topics(settings, [PREDICTIONS], timeout_seconds=_BROKER_SECONDS)
    model = ready(settings, number)
    with closing(model.engine), sending(settings) as sender:
        progress = Progress(say, planned=planned)
        score_all(settings, selection, model, sender, progress)
    return progress.result(facts | {"engine": model.engine.name})


def asked(given: argparse.Namespace, *, model: str) -> Selection:
    """The frames that the arguments name.

    Raises:
        Misconfigured: a time or a frame id cannot be read, or the range is empty.
    """
    for name in ("first", "last"):
        bound = getattr(given, name)
        if bound is not None and not UUID.fullmatch(bound):
            raise Misconfigured(f"--{name} {bound!r} is no frame id")
    span = span_of(given)
    assert span is not None  # both are required
    return Selection(
        model=model,
        since=span[0],
        until=span[1],
        cameras=tuple(given.camera),
        only=given.only,
        run_id=given.run_id or f"by-hand-{uuid_utils.uuid7()}",
        first=given.first,
        last=given.last,
    )


def score_all(settings: Settings, selection: Selection, model: ServedModel, sender: Sender, progress: Progress) -> None:
    """Gives every outstanding frame its outcome. Returns when the broker has every prediction."""
    stream, size = settings.stream, model.plan.size
    with closing(FrameStore(settings.s3)) as store:
        store.check()  # else a wrong bucket would look like a loss of all
        with Prefetch(
            partial(read, store),
            partial(see, max_pixels=stream.max_pixels, needs_pixels=model.engine.needs_pixels),
            decoders=stream.decode_threads,
            max_frames=2 * READERS + 2 * size,
        ) as prefetch:
            for batch in prefetch.batches(frames_of(settings, selection), size=size):
                for frame, image in batch:
                    if isinstance(image, Lost):
                        progress.lost(frame.frame_id, image.reason)
                seen = [(frame, image) for frame, image in batch if not isinstance(image, Lost)]
                outcomes = score([image for _, image in seen], model.engine)
                records = [_record(frame) for frame, _ in seen]
                sender.send(predictions(records, outcomes, model, run_id=selection.run_id))
                progress.scored(str(outcome.status) for outcome in outcomes)
                progress.tell_when_due()
    sender.settle(progress.tell_when_due)


@contextmanager
def sending(settings: Settings) -> Iterator[Sender]:
    """The way to the topic; what was sent when something fails is still given to the broker, if it takes it at once.

    Raises:
        Transient: the schema registry is away.
    """
    with SchemaRegistry(settings.registry) as registry:
        codec = Codec(registry)
        codec.prepare(PREDICTIONS.name)
        producer: Any = make_producer(settings, **{"delivery.timeout.ms": PATIENCE_SECONDS * 1000})
        try:
            yield Sender(producer, codec)
        finally:
            producer.flush(_BROKER_SECONDS)


def _left_to_the_stream(settings: Settings, *, explicit: bool) -> dict[str, Any]:
    """The bounds of what a job takes on without being told to: the rest may still be on its way."""
    if explicit:
        return {}
    return {
        "captured_before": datetime.now(UTC) - SETTLED_AFTER,
        "committed": committed_offsets(settings, settings.stream.group, FRAMES.name),
    }


def _record(frame: FrameToScore) -> Record:
    return {
        "frame_id": frame.frame_id,
        "camera_id": frame.camera_id,
        "captured_at": milliseconds(frame.captured_at),
        "traceparent": frame.traceparent,
    }
