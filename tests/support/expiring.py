"""Frames of a given age on both stores, runs of the job that expires them, and runs that are killed.

send(pipeline, "line-1", age=33)                    a closed session of 33 days ago
expired(pipeline, "--dry-run")                      a run of the job
dies(lambda: expired(..., say=killing(3, row)), …)  a run that is killed after its third step
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from inference.batch import expire
from inference.batch.__main__ import parser_of
from inference.batch.job import Result
from inference.domain.review import LabelledBox, Review, Verdict
from inference.persistence import connect, reviews
from tests.support.rows import Row, now
from tests.support.stored_pipeline import Pipeline

SESSIONS = {
    "line-1": "019b7c3e-0000-7000-8000-0000000000aa",
    "line-2": "019b7c3e-0000-7000-8000-0000000000bb",
    "short": "019b7c3e-0000-7000-8000-0000000000cc",
}
BOX = LabelledBox(label="short", box=(10.0, 12.0, 30.0, 36.0))


def send(pipeline: Pipeline, camera: str, age: int, count: int = 5) -> list[Row]:
    began = now().replace(hour=12, minute=0, second=0) - timedelta(days=age)
    ended = began + timedelta(minutes=1)
    return pipeline.send(
        count, camera_id=camera, session_id=SESSIONS[camera], started_at=began, updated_at=ended, closed_at=ended
    )


def expired(pipeline: Pipeline, *options: str, say: Callable[[str], None] = lambda _: None) -> Result:
    """A run of the job."""
    return expire.run(pipeline.settings, parser_of("expire")[0].parse_args(list(options)), say)


def review(pipeline: Pipeline, row: Row, **changes: Any) -> int:
    given = {"reviewer": "ann", "reviewer_name": "Ann", "verdict": Verdict.CORRECTED, "boxes": (BOX,)}
    with connect(pipeline.settings) as connection:
        return reviews.save(connection, Review(frame_id=row["frame_id"], **(given | changes)))


def one(pipeline: Pipeline, query: str, *values: object) -> Any:
    with connect(pipeline.settings) as connection:
        [(value,)] = connection.execute(query, values).fetchall()
    return value


def count(pipeline: Pipeline, table: str) -> int:
    return int(one(pipeline, f"SELECT count(*) FROM {table}"))


def states(pipeline: Pipeline) -> list[tuple[str, int, int, str, str]]:
    with connect(pipeline.settings) as connection:
        return connection.execute(
            "SELECT camera_id, first_sequence, last_sequence, reason, state FROM expirations ORDER BY 1, 2"
        ).fetchall()


def killing(step: int, row: Row) -> Callable[[str], None]:
    """Ends its process by SIGKILL at the given line that speaks of the row's day, or of no day."""
    left = [step]
    day = f"{row['captured_at']:%Y-%m-%d}"

    def say(line: str) -> None:
        if line.startswith(day) or not line.startswith("20"):
            left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return say


def dies(work: Callable[[], object], pipeline: Pipeline) -> bool:
    """Whether work in a child process was ended by SIGKILL; the audit stays closed whenever that was."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    assert pipeline.audit().is_closed
    return os.WIFSIGNALED(status)
