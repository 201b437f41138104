"""Every job's command line. Pure: words in a tuple, no Airflow, no settings.

    score(…) ──► ("python", "-m", "inference.batch", "score", "--since", …)

The runner puts its own interpreter in the place of `python` and adds `--result FILE`. A test gives each of these to the
parser of the module that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

PYTHON: Final = "python"

Only = Literal["missing", "all"]


def _batch(job: str, *options: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "inference.batch", job, *options)


def _sightline(*words: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "sightline.cli", *words)


def _each(option: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (option, value))


def score(
    *,
    since: str,
    until: str,
    run_id: str,
    cameras: Iterable[str] = (),
    model: str = "champion",
    only: Only = "missing",
    shard: tuple[str, str] | None = None,
    is_explicit: bool = False,
) -> tuple[str, ...]:
    """Frames of a time range through one version, into the topic of predictions.

    Args:
        since: captured then or later, ISO 8601.
        until: captured before then.
        run_id: is written into every prediction; the same one again goes on where it stopped.
        cameras: these; every camera without.
        model: an alias (champion, challenger, previous_champion) or the number of a version.
        only: missing: frames that are not scored; all: those that this run has not scored.
        shard: the first and the last frame_id, both included.
        is_explicit: a person named the range: young frames and those that the stream has before it count too.
    """
    version = ("--version", model) if model.isdigit() else ("--alias", model)
    part = ("--first", shard[0], "--last", shard[1]) if shard else ()
    named = ("--explicit",) if is_explicit else ()
    span = ("--since", since, "--until", until)
    return _batch(
        "score", *span, *_each("--camera", cameras), *version, "--only", only, *part, *named, "--run-id", run_id
    )


def check(*, since: str, until: str) -> tuple[str, ...]:
    """Frames and predictions of a time range against their contracts, the quick audit, the registry."""
    return _batch("check", "--since", since, "--until", until)


def check_run(run_id: str, *, since: str, until: str) -> tuple[str, ...]:
    """What one run of `score` wrote of the frames of its range, against the contracts."""
    return _batch("check", "--since", since, "--until", until, "--run-id", run_id)


def drift(day: str) -> tuple[str, ...]:
    """One day's frames and predictions (YYYY-MM-DD, UTC) against the champion's reference."""
    return _batch("drift", "--day", day)


def expire(
    *, days_of: Mapping[str, int] | None = None, how: Literal["", "--dry-run", "--verify"] = ""
) -> tuple[str, ...]:
    """Forgets what is older than the retention.

    Args:
        days_of: these cameras alone, each with its days.
        how: --dry-run only says what would go; --verify ends with 75 where something still has to.
    """
    own = [word for camera, days in (days_of or {}).items() for word in ("--camera", camera, "--days", str(days))]
    return _batch("expire", *own, *((how,) if how else ()))


def watch(promotion: str) -> tuple[str, ...]:
    """The watch window of one row of the ledger."""
    return _batch("watch", "--promotion", promotion)


def export_labels() -> tuple[str, ...]:
    """Reviewed frames of the train blocks as a versioned dataset in S3."""
    return _batch("export-labels")


def fetch_labels(digest: str, *, folder: str) -> tuple[str, ...]:
    """A dataset that `export_labels` wrote to S3, into a folder as training wants it."""
    return _batch("fetch-labels", "--digest", digest, "--into", folder)


def evaluate(version: str | None = None, *, boards: int = 0) -> tuple[str, ...]:
    """Measures a version (the challenger without) and the champion on the gate set; leaves the verdict open.

    Args:
        version: its number in MLflow.
        boards: of the seed gate set, so many; 0: the reviewed frames of gate blocks.
    """
    which = (version,) if version else ()
    seed = ("--boards", str(boards)) if boards else ()
    return _sightline("model", "gate", *which, "--evaluate-only", *seed)


def gate(*, run: str, digest: str) -> tuple[str, ...]:
    """Contract of the evaluation tables, then the verdict on them."""
    return _sightline("model", "gate", "--run", run, "--digest", digest)


def promote(version: str, *, reason: str, approver_id: str, approver_name: str) -> tuple[str, ...]:
    """Makes a version champion in the name of the person who approved it."""
    person = ("--on-behalf-of-id", approver_id, "--on-behalf-of-name", approver_name)
    return _sightline("model", "promote", version, "--reason", reason, *person)


def train(
    *, folder: str, labelled: str, minutes: float, side: int, batch: int, init: str | None, device: str
) -> tuple[str, ...]:
    """Trains on a labelled folder; stopped, the same command goes on.

    Args:
        folder: of the training: checkpoints.
        labelled: images/*.jpg and labels/*.txt.
        minutes: the whole budget, of computing.
        side: pixels of the network's input.
        batch: images learned from at a time; the dataset needs as many.
        init: a model to start from; None: random weights.
        device: cpu or cuda.
    """
    start = ("--init", init) if init else ()
    budget = ("--max-minutes", f"{minutes:g}", "--imgsz", str(side), "--batch", str(batch), "--device", device)
    return _sightline("model", "train", "--out", folder, "--labelled", labelled, *budget, *start)


def export(*, folder: str, labelled: str, out: str, name: str) -> tuple[str, ...]:
    """Turns a training into a folder that can be delivered, evaluated on the validation part of what it learned from."""
    return _sightline("model", "export", folder, "--out", out, "--labelled", labelled, "--name", name)


def deliver(folder: str) -> tuple[str, ...]:
    """Registers what `export` wrote and makes it the challenger."""
    return _sightline("model", "deliver", folder)


def connectors_status() -> tuple[str, ...]:
    """Connectors and tasks; exit 1 when one of ours does not run."""
    return _sightline("connectors", "status")
