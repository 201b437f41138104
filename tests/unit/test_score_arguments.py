"""The arguments of the job, and what it says and answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from contracts.errors import Misconfigured
from inference.batch.__main__ import parser_of
from inference.batch.progress import NAMED, Progress
from inference.batch.score import asked

FRAME = "019ab3f0-1111-7000-8000-000000000000"
RANGE = ("--since", "2026-11-25T08:00", "--until", "2026-11-25T10:00+01:00")


def given(*words: str):
    return asked(parser_of("score")[0].parse_args([*RANGE, *words]), model="pcb")


def test_times_without_a_zone_are_utc() -> None:
    selection = given()
    assert selection.since == datetime(2026, 11, 25, 8, tzinfo=UTC)
    assert selection.until == datetime(2026, 11, 25, 9, tzinfo=UTC)
    assert (selection.only, selection.cameras, selection.first, selection.last) == ("missing", (), None, None)


def test_a_run_without_an_id_gets_one_of_its_own() -> None:
    assert given("--run-id", "r").run_id == "r"
    assert given().run_id != given().run_id


def test_cameras_and_shards_are_taken_as_given() -> None:
    selection = given("--camera", "a", "--camera", "b", "--only", "all", "--first", FRAME, "--last", FRAME)
    assert (selection.cameras, selection.only, selection.first, selection.last) == (("a", "b"), "all", FRAME, FRAME)


@pytest.mark.parametrize(
    "words", [("--since", "yesterday"), ("--until", "25.11."), ("--first", "7"), ("--last", "x' OR")]
)
def test_what_cannot_be_read_is_a_persons_to_mend(words: tuple[str, str]) -> None:
    with pytest.raises(Misconfigured, match=words[0]):
        given(*words)


def test_an_empty_range_is_a_persons_to_mend() -> None:
    with pytest.raises(Misconfigured, match="the range is empty"):
        given("--until", "2026-11-25T08:00")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_progress_is_told_every_few_seconds_and_not_more_often() -> None:
    clock, said = Clock(), []
    progress = Progress(said.append, planned=40, clock=clock)
    progress.scored(["ok"] * 9 + ["undecodable"])
    for clock.seconds in (0.0, 4.9, 5.0, 5.1, 9.9, 10.0):
        progress.tell_when_due()
    assert said == [
        "10 of 40 frames, 2.0 frames/s, 1 undecodable",
        "10 of 40 frames, 1.0 frames/s, 1 undecodable",
    ]


def test_the_result_counts_every_outcome_once() -> None:
    clock = Clock()
    progress = Progress(lambda line: None, planned=4, clock=clock)
    progress.scored(["ok", "ok", "too_large", "undecodable"])
    clock.seconds = 2.0
    result = progress.result({"run_id": "r"})
    assert result.exit_code == 0
    assert result.fields == {
        "run_id": "r", "planned": 4, "scored": 4, "undecodable": 1, "too_large": 1, "unsupported": 0,
        "missing_objects": [], "missing": 0, "reasons": {}, "seconds": 2.0, "frames_per_second": 2.0,
    }  # fmt: skip


def test_lost_frames_are_named_and_make_the_result_bad_data() -> None:
    said: list[str] = []
    progress = Progress(said.append, planned=2)
    progress.scored(["ok"])
    progress.lost(FRAME, "object_differs")
    result = progress.result({})
    assert result.exit_code == 65
    assert result.fields["missing_objects"] == [FRAME]
    assert result.fields["reasons"] == {"object_differs": 1}
    assert any(FRAME in line for line in said)


def test_many_lost_frames_are_counted_and_the_first_are_named() -> None:
    progress = Progress(lambda line: None, planned=NAMED + 5)
    for number in range(NAMED + 5):
        progress.lost(f"{number:05}", "no_object")
    fields = progress.result({}).fields
    assert (fields["missing"], len(fields["missing_objects"])) == (NAMED + 5, NAMED)


def test_nothing_to_do_is_a_result_too() -> None:
    result = Progress(lambda line: None, planned=0).result({"version": "1"})
    assert (result.exit_code, result.fields["scored"], result.fields["frames_per_second"]) == (0, 0, 0.0)
