"""The day's frames and detections against what the champion is used to.

    ledger ─► the day's champion ─► its reference (MLflow) ─ none yet ─► the first full day after its promotion, kept
    sample of the day: rows; of some frames the image ─► PSI per feature ─► a run in MLflow with plots
                                                     └► shifted far: the oddest frames go first in the review queue

Sample, reference and run are the same when a day is reported again.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.errors import Misconfigured, Rejected
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.batch import drift_plots
from inference.batch.job import Result, Say
from inference.domain.decode import Status, decode
from inference.domain.drift import Odd, Reference, Seen, Shift, compare, oddest, parse, reference_of
from inference.domain.image_figures import ImageFigures, figures_of
from inference.domain.split import TRAIN, part_of
from inference.persistence import connect, ledger
from inference.persistence.drift_sample import SampledFrame, sample
from inference.persistence.ledger import Promotion
from inference.persistence.objects import FrameStore
from inference.persistence.review_requests import ReviewRequest, request_reviews
from inference.registry import drift_record, mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABOUT: Final = "Reports how far a day drifted from what the champion is used to."

LEAST_FRAMES: Final = 50  # fewer say nothing of a day
_THREADS: Final = 8
_JOB: Final = "report_drift"

_log = get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's options."""
    parser.add_argument("--day", type=date.fromisoformat, required=True, help="ISO date, UTC")
    parser.add_argument("--frames", type=int, default=2000, help="rows in the sample")
    parser.add_argument("--images", type=int, default=200, help="of these, images that are looked at")
    parser.add_argument("--mark", type=int, default=20, help="most frames to mark for review")


def run(settings: Settings, given: argparse.Namespace, say: Say) -> Result:
    """Reports the day.

    Raises:
        Rejected: nobody was champion on that day, or MLflow has not the version any more.
        Misconfigured: the kept reference is damaged.
        Transient: Postgres, the object store or MLflow is away.
    """
    report = _Report(settings, given, say)
    try:
        return report.make()
    finally:
        report.close()


class _Report:
    """One day's report, being made."""

    def __init__(self, settings: Settings, given: argparse.Namespace, say: Say) -> None:
        self._settings = settings
        self._given = given
        self._day: date = given.day
        self._say = say
        self._model = settings.mlflow.model_name
        self._store = FrameStore(settings.s3)
        self._missing = 0  # images

    def close(self) -> None:
        """Closes the connections."""
        self._store.close()

    def make(self) -> Result:
        """Reference first, then the day, then what is written: the run, the marks."""
        champion = self._champion()
        client = mlflow_client.connect(self._settings)
        run_id = drift_record.run_of(client, self._model, champion.version)
        reference, is_made = self._reference(client, run_id, champion.version)
        frames = self._sampled(champion.version, self._day)
        about = {"day": self._day.isoformat(), "version": champion.version, "frames": len(frames)}
        if reference is None or len(frames) < LEAST_FRAMES:
            why = "no full day since its promotion yet" if reference is None else f"fewer than {LEAST_FRAMES} frames"
            self._say(f"nothing to compare: {why}")
            return Result(fields=about | {"reference": reference and reference.day, "compared": False, "why": why})
        seen = self._seen(frames)
        shifts = compare(reference, seen)
        by_id = {frame.frame_id: frame for frame in frames}
        odd = oddest(reference, shifts, [one for one in seen if _may_teach(by_id[one.frame_id])], most=self._given.mark)
        report = self._write(client, reference, shifts, odd)
        marked = self._mark(odd, by_id)
        for shift in shifts:
            self._say(f"{shift.feature}: PSI {shift.psi:.3f}{'  shifted far' if shift.is_large else ''}")
        _log.info("drift_reported", day=about["day"], model_version=champion.version, run_id=report)
        found = {
            "reference": reference.day,
            "reference_made": is_made,
            "compared": True,
            "images": sum("brightness" in one.values for one in seen),
            "images_missing": self._missing,
            "newly_marked": marked,
            "run": report,
        }
        return Result(fields=about | found | _figures(shifts, odd))

    def _champion(self) -> Promotion:
        end = datetime.combine(self._day + timedelta(days=1), datetime.min.time(), UTC)
        with connect(self._settings) as connection:
            champion = ledger.champion_at(connection, self._model, end)
        if champion is None:
            raise Rejected(
                f"nobody was champion of {self._model} on {self._day}: give a later --day", code="no_champion"
            )
        return champion

    def _reference(self, client: MlflowClient, run_id: str, version: str) -> tuple[Reference | None, bool]:
        """What the version is used to, and whether it was made just now; None: no full day has passed."""
        text = drift_record.read_reference(client, run_id)
        if text is not None:
            try:
                return parse(text), False
            except ValueError as error:
                raise Misconfigured(
                    f"the drift reference of version {version} is damaged ({error}): delete "
                    f"{drift_record.REFERENCE} in run {run_id}, and it is made again"
                ) from error
        with connect(self._settings) as connection:
            first = ledger.first_of(connection, self._model, version)
        assert first is not None
        assert first.done_at is not None
        day = first.done_at.date() + timedelta(days=1)
        while day <= self._day and day < datetime.now(UTC).date():
            frames = self._sampled(version, day)
            if len(frames) >= LEAST_FRAMES:
                made = reference_of(self._seen(frames), version=version, day=day.isoformat())
                drift_record.write_reference(client, run_id, made.document())
                self._say(f"reference of version {version}: {day}, {made.frames} frames")
                return made, True
            day += timedelta(days=1)
        return None, False

    def _sampled(self, version: str, day: date) -> list[SampledFrame]:
        with connect(self._settings) as connection:
            return sample(connection, model=self._model, version=version, day=day, most=self._given.frames)

    def _seen(self, frames: Sequence[SampledFrame]) -> list[Seen]:
        looked_at = frames[: self._given.images]
        with ThreadPoolExecutor(_THREADS) as pool:
            looks = list(pool.map(partial(_look, self._store, self._settings.stream.max_pixels), looked_at))
        self._missing = sum(look is None for look in looks)
        rest: list[ImageFigures | None] = [None] * (len(frames) - len(looked_at))
        return [_as_seen(frame, look) for frame, look in zip(frames, [*looks, *rest], strict=True)]

    def _write(self, client: MlflowClient, reference: Reference, shifts: Sequence[Shift], odd: Sequence[Odd]) -> str:
        tags = {"model": self._model, "version": reference.version, "day": self._day.isoformat()}
        with tempfile.TemporaryDirectory(prefix="sightline-drift-") as scratch:
            folder = Path(scratch)
            drift_plots.draw(folder, shifts, then=f"reference {reference.day}", now=tags["day"])
            shown = {**tags, "reference": reference.day, "shifts": [asdict(one) for one in shifts]}
            text = json.dumps(shown | {"oddest": [asdict(one) for one in odd]}, indent=1)
            (folder / "report.json").write_text(text + "\n", "utf-8")
            metrics = {f"psi/{shift.feature}": shift.psi for shift in shifts}
            return drift_record.write_report(client, tags, metrics=metrics, files=folder)

    def _mark(self, odd: Sequence[Odd], by_id: dict[str, SampledFrame]) -> int:
        requests = [
            ReviewRequest(
                frame_id=one.frame_id,
                camera_id=by_id[one.frame_id].camera_id,
                requested_by=_JOB,
                reason=f"{one.feature} drifted on {self._day}",
            )
            for one in odd
        ]
        with connect(self._settings) as connection:
            return request_reviews(connection, requests)


def _figures(shifts: Sequence[Shift], odd: Sequence[Odd]) -> dict[str, object]:
    return {
        "psi": {shift.feature: round(shift.psi, 4) for shift in shifts},
        "shifted": [shift.feature for shift in shifts if shift.is_large],
        "marked": [one.frame_id for one in odd],
    }


def _look(store: FrameStore, max_pixels: int, frame: SampledFrame) -> ImageFigures | None:
    """What the image is like; None where there is none to look at: the audit's business, not drift's."""
    try:
        image = decode(store.get(frame.object_key), max_pixels=max_pixels)
    except Rejected:
        return None
    return None if isinstance(image, Status) else figures_of(image)


def _as_seen(frame: SampledFrame, look: ImageFigures | None) -> Seen:
    corners = (frame.boxes[at : at + 4] for at in range(0, len(frame.boxes), 4))
    area = frame.width * frame.height
    sizes = [math.sqrt(max(x2 - x1, 0.0) * max(y2 - y1, 0.0) / area) for x1, y1, x2, y2 in corners]
    values: dict[str, Sequence[float]] = {"box_size": sizes, "confidence": frame.confidences}
    if look is not None:
        values |= {"brightness": (look.brightness,), "sharpness": (look.sharpness,)}
    return Seen(frame_id=frame.frame_id, values=values, labels=frame.labels)


def _may_teach(frame: SampledFrame) -> bool:
    """Frames of gate blocks are not put before people with a prediction."""
    return part_of(frame.camera_id, frame.session_id, frame.sequence) == TRAIN
