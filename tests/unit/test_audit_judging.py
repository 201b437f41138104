"""The audit's rule, without stores: each acknowledged sequence is exactly one thing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.persistence.audit.evidence import Verified
from inference.persistence.audit.judging import judge
from inference.persistence.audit.verdicts import Evidence, Expiration, Letter, News, Report, SessionVerdict, Witness
from inference.persistence.objects import Digest

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
STARTED = NOW - timedelta(hours=1)
RIGHT = Digest(size_bytes=5, sha256="a" * 64)
CHANGED = Digest(size_bytes=5, sha256="b" * 64)
COUNTS = ("stored", "dead_lettered", "expired", "pending", "problem_count")


def a_witness(last: int, **changes: Any) -> Witness:
    values: dict[str, Any] = {
        "session_id": "s",
        "camera_id": "c",
        "source": "simulator:",
        "started_at": STARTED,
        "last_acknowledged": last,
        "captured": last + 1,
        "rejected": 0,
        "closed_at": NOW - timedelta(minutes=50),
        "updated_at": NOW - timedelta(minutes=50),
    }
    return Witness(**values | changes)


def in_progress(last: int, **changes: Any) -> Witness:
    return a_witness(last, **{"closed_at": None, "updated_at": NOW - timedelta(seconds=1)} | changes)


def a_row(sequence: int, **changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "frame_id": f"f{sequence}",
        "sequence": sequence,
        "captured_at": STARTED + timedelta(seconds=sequence),
        "size_bytes": RIGHT.size_bytes,
        "sha256": RIGHT.sha256,
        "object_key": f"key-{sequence}",
        "has_prediction": True,
        "found": RIGHT,
    }
    return Evidence(**values | changes)


def a_letter(consumer: str, frame_id: str = "f") -> Letter:
    return Letter(consumer=consumer, letter_id=f"{consumer}:1", reason="bad_id: no", frame_id=frame_id)


def judged(
    witness: Witness,
    rows: Sequence[Evidence],
    letters: dict[int, list[Letter]] | None = None,
    expired: Sequence[tuple[int, int]] = (),
) -> SessionVerdict:
    verdict = judge(
        witness,
        rows,
        find_letters=lambda sequence, _row: (letters or {}).get(sequence, []),
        refused=letters or (),
        expirations=[Expiration(first_sequence=first, last_sequence=last) for first, last in expired],
        now=NOW,
    )
    gaps = sum(named.problem == "closed with a gap" for named in verdict.problems)
    assert sum(getattr(verdict, name) for name in COUNTS) == witness.acknowledged + gaps
    return verdict


def counts(verdict: SessionVerdict) -> dict[str, int]:
    return {name: getattr(verdict, name) for name in COUNTS if getattr(verdict, name)}


def problems(verdict: SessionVerdict) -> list[tuple[int | None, str | None, str]]:
    assert len(verdict.problems) == verdict.problem_count
    return [(named.sequence, named.frame_id, named.problem) for named in verdict.problems]


def test_all_stored_closes() -> None:
    verdict = judged(a_witness(2), [a_row(n) for n in range(3)])
    assert counts(verdict) == {"stored": 3}
    assert verdict.is_settled


def test_a_session_that_acknowledged_nothing_closes() -> None:
    assert counts(judged(a_witness(-1), [])) == {}
    assert counts(judged(a_witness(4, first_sequence=5), [])) == {}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"found": None}, "no object"),
        ({"found": CHANGED}, "object differs"),
        ({"found": Digest(size_bytes=6, sha256=RIGHT.sha256)}, "object differs"),
        ({"has_prediction": False}, "no prediction"),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_what_a_frame_lacks_is_named(changes: dict[str, Any], problem: str, position: int) -> None:
    verdict = judged(a_witness(2), [a_row(n, **(changes if n == position else {})) for n in range(3)])
    assert counts(verdict) == {"stored": 2, "problem_count": 1}
    assert problems(verdict) == [(position, f"f{position}", problem)]


@pytest.mark.parametrize("missing", [[0], [1], [4], [3, 4], [0, 2, 4], [0, 1, 2, 3, 4]])
def test_missing_rows_are_named_first_middle_and_last(missing: list[int]) -> None:
    verdict = judged(a_witness(4), [a_row(n) for n in range(5) if n not in missing])
    assert verdict.stored == 5 - len(missing)
    assert problems(verdict) == [(n, None, "no row") for n in missing]


def test_several_lacks_of_one_frame_are_one_problem() -> None:
    verdict = judged(a_witness(0), [a_row(0, found=None, has_prediction=False)])
    assert problems(verdict) == [(0, "f0", "no object")]
    assert "no prediction" in verdict.problems[0].detail


def test_two_frames_with_one_number_are_a_problem_even_if_both_are_stored() -> None:
    rows = [a_row(0), a_row(1), a_row(1, frame_id="other"), a_row(2)]
    verdict = judged(a_witness(2), rows, letters={1: [a_letter("frames_to_postgres"), a_letter("frames_to_s3")]})
    assert counts(verdict) == {"stored": 2, "problem_count": 1}
    assert problems(verdict) == [(1, "f1", "sequence twice")]
    assert "other" in verdict.problems[0].detail


@pytest.mark.parametrize("consumer", ["frames_to_postgres", "frame_conflicts"])
def test_a_frame_without_a_row_is_dead_lettered_where_the_row_was_refused(consumer: str) -> None:
    verdict = judged(a_witness(1), [a_row(0)], letters={1: [a_letter("stream"), a_letter(consumer, "f1")]})
    assert counts(verdict) == {"stored": 1, "dead_lettered": 1}
    [named] = verdict.dead_letters
    assert (named.sequence, named.frame_id, named.problem) == (1, "f1", f"{consumer}:1")


@pytest.mark.parametrize(
    ("consumer", "changes"),
    [
        ("frames_to_s3", {"found": None}),
        ("frames_to_s3", {"found": CHANGED}),
        ("stream", {"has_prediction": False}),
        ("predictions_to_postgres", {"has_prediction": False}),
    ],
)
def test_a_refusal_explains_what_that_consumer_would_have_written(consumer: str, changes: dict[str, Any]) -> None:
    assert counts(judged(a_witness(0), [a_row(0, **changes)], letters={0: [a_letter(consumer)]})) == {
        "dead_lettered": 1
    }


@pytest.mark.parametrize(
    ("consumer", "rows"),
    [
        ("frames_to_s3", []),
        ("stream", []),
        ("frames_to_postgres", [a_row(0, found=None)]),
        ("frames_to_postgres", [a_row(0, found=CHANGED)]),
        ("frame_conflicts", [a_row(0, has_prediction=False)]),
        ("frames_to_s3", [a_row(0, found=None, has_prediction=False)]),
        ("a_consumer_of_tomorrow", []),
    ],
)
def test_an_old_refusal_hides_no_other_loss(consumer: str, rows: list[Evidence]) -> None:
    assert counts(judged(a_witness(0), rows, letters={0: [a_letter(consumer)]})) == {"problem_count": 1}


def test_a_replayed_frame_is_stored_though_its_letter_remains() -> None:
    letters = {0: [a_letter("frames_to_postgres"), a_letter("frames_to_s3"), a_letter("stream")]}
    assert counts(judged(a_witness(0), [a_row(0)], letters=letters)) == {"stored": 1}


def test_what_the_retention_took_is_expired_and_what_it_has_not_taken_yet_is_stored() -> None:
    rows = [a_row(1), a_row(2, found=None), a_row(3, found=None, has_prediction=False), a_row(5), a_row(6)]
    verdict = judged(a_witness(6), rows, expired=[(0, 0), (1, 3)])
    assert counts(verdict) == {"stored": 3, "expired": 3, "problem_count": 1}
    assert problems(verdict) == [(4, None, "no row")]


def test_a_changed_object_is_named_though_its_range_expires() -> None:
    assert counts(judged(a_witness(0), [a_row(0, found=CHANGED)], expired=[(0, 0)])) == {"problem_count": 1}


def test_an_open_session_is_judged_up_to_what_it_last_said_and_does_not_fail_by_being_open() -> None:
    silent = a_witness(2, closed_at=None, captured=9, updated_at=NOW - timedelta(seconds=11))
    verdict = judged(silent, [a_row(n) for n in range(3)])
    assert (verdict.state, counts(verdict)) == ("open", {"stored": 3})
    assert judged(silent, [a_row(0), a_row(1)]).problem_count == 1


def test_young_frames_of_a_session_in_progress_are_on_their_way() -> None:
    young = NOW - timedelta(seconds=20)
    rows = [a_row(0), a_row(1, captured_at=young), a_row(2, captured_at=young, found=None)]
    verdict = judged(in_progress(4), rows)
    assert (verdict.state, counts(verdict)) == ("in progress", {"stored": 2, "pending": 3})
    assert [(named.sequence, named.problem) for named in verdict.pending_frames] == [
        (2, "no object"),
        (3, "no row"),
        (4, "no row"),
    ]
    assert not verdict.is_settled


def test_a_loss_that_is_provably_old_is_named_while_the_session_goes_on() -> None:
    young = NOW - timedelta(seconds=5)
    rows = [a_row(0), a_row(2), a_row(3, found=None), a_row(4, captured_at=young, found=CHANGED)]
    verdict = judged(in_progress(4), rows)
    assert problems(verdict) == [(1, None, "no row"), (3, "f3", "no object"), (4, "f4", "object differs")]


def test_a_stalled_sink_is_not_taken_for_frames_on_their_way() -> None:
    verdict = judged(in_progress(9), [a_row(n) for n in range(5)])
    assert counts(verdict) == {"stored": 5, "problem_count": 5}


def test_a_slow_cameras_frame_is_on_its_way_when_it_was_acknowledged_a_moment_ago() -> None:
    rows = [a_row(n, captured_at=NOW - timedelta(minutes=5 - n)) for n in range(3)]
    late = a_row(3, captured_at=NOW - timedelta(minutes=2), found=None)  # captured while the broker was away
    news = (
        News(at=NOW - timedelta(seconds=55), last_acknowledged=1),
        News(at=NOW - timedelta(seconds=31), last_acknowledged=2),
        News(at=NOW - timedelta(seconds=1), last_acknowledged=4),
    )
    witness = in_progress(4, news=news)
    assert counts(judged(witness, [*rows, late])) == {"stored": 3, "pending": 2}
    assert counts(judged(witness, [a_row(0)])) == {"stored": 1, "pending": 2, "problem_count": 2}
    assert counts(judged(in_progress(4), rows)) == {"stored": 3, "problem_count": 2}


def test_heartbeats_alone_do_not_keep_a_lost_frame_on_its_way() -> None:
    news = (News(at=NOW - timedelta(seconds=59), last_acknowledged=4),)
    assert counts(judged(in_progress(4, news=news), [a_row(n) for n in range(4)])) == {"stored": 4, "problem_count": 1}


def test_a_session_that_is_closed_with_a_gap_at_its_end_is_named() -> None:
    verdict = judged(a_witness(1, captured=4), [a_row(0), a_row(1)])
    assert problems(verdict) == [(None, None, "closed with a gap")]
    assert "4 captured, but acknowledged only up to sequence 1" in verdict.problems[0].detail
    assert (counts(verdict), verdict.is_settled) == ({"stored": 2, "problem_count": 1}, False)
    assert problems(judged(a_witness(-1, captured=1), [])) == [(None, None, "closed with a gap")]


def test_young_frames_of_a_closed_session_are_missing_all_the_same() -> None:
    closed = a_witness(0, started_at=NOW, updated_at=NOW, closed_at=NOW)
    assert counts(judged(closed, [])) == {"problem_count": 1}


def test_only_what_is_asked_for_is_judged() -> None:
    verdict = judged(a_witness(5, first_sequence=3), [a_row(4), a_row(5)])
    assert problems(verdict) == [(3, None, "no row")]


def test_a_great_loss_is_counted_whole_and_named_in_part() -> None:
    verdict = judge(a_witness(4999), [], find_letters=lambda *_: [], refused=(), expirations=[], now=NOW)
    assert (verdict.problem_count, len(verdict.problems)) == (5000, 1000)


@pytest.mark.parametrize("state", ["closed", "open", "in progress"])
def test_a_count_that_no_camera_reaches_is_named_as_ranges_at_once(state: str) -> None:
    last = 2**63 - 1
    times = {"closed": {}, "open": {"closed_at": None}, "in progress": {"closed_at": None, "updated_at": NOW}}[state]
    news = (News(at=NOW, last_acknowledged=last),)
    letters = {10**6: [a_letter("frames_to_postgres")], 10**12: [a_letter("stream")]}
    witness = a_witness(last, captured=1, news=news, **times)
    verdict = judged(witness, [a_row(0), a_row(5)], letters=letters, expired=[(10**9, 2 * 10**9)])
    assert verdict.state == state
    assert (verdict.stored, verdict.dead_lettered, verdict.expired, verdict.pending) == (2, 1, 10**9 + 1, 0)
    assert [(named.sequence, named.detail) for named in verdict.problems] == [
        *((n, "") for n in range(1, 5)),
        (6, f"sequences 6 to {10**6 - 1}"),
        (10**6 + 1, f"sequences {10**6 + 1} to {10**9 - 1}"),
        (2 * 10**9 + 1, f"sequences {2 * 10**9 + 1} to {10**12 - 1}"),
        (10**12, ""),
        (10**12 + 1, f"sequences {10**12 + 1} to {last}"),
    ]


def test_a_long_run_of_frames_on_their_way_is_told_from_what_was_lost_before() -> None:
    news = (
        News(at=NOW - timedelta(seconds=50), last_acknowledged=19_999),
        News(at=NOW - timedelta(seconds=1), last_acknowledged=49_999),
    )
    verdict = judged(in_progress(49_999, news=news), [])
    assert counts(verdict) == {"problem_count": 20_000, "pending": 30_000}


def test_a_session_from_the_far_future_is_not_in_progress_for_ever() -> None:
    future = datetime(9999, 12, 31, tzinfo=UTC)
    verdict = judged(a_witness(3, started_at=future, updated_at=future, closed_at=None), [])
    assert (verdict.state, counts(verdict)) == ("open", {"problem_count": 4})


def test_a_report_closes_only_when_nothing_is_missing() -> None:
    good = judged(a_witness(1), [a_row(0), a_row(1)])
    bad = judged(a_witness(1), [a_row(0)])
    waiting = judged(in_progress(0, started_at=NOW), [])
    for sessions, expected in (([good], (True, True)), ([good, waiting], (True, False)), ([good, bad], (False, False))):
        report = Report(judged_at=NOW, is_quick=False, sessions=sessions, without_session=[], unreadable=[])
        assert (report.is_closed, report.is_settled) == expected
    lost = Report(judged_at=NOW, is_quick=False, sessions=[good], without_session=bad.problems, unreadable=[])
    assert (lost.is_closed, lost.problem_count, lost.acknowledged) == (False, 1, 2)


@given(
    st.lists(
        st.sampled_from(["stored", "row", "object", "byte", "prediction", "twice", "letter", "expired"]), max_size=40
    )
)
def test_every_sequence_is_exactly_one_thing(fates: list[str]) -> None:
    rows: list[Evidence] = []
    for sequence, fate in enumerate(fates):
        if fate == "object":
            rows.append(a_row(sequence, found=None))
        elif fate == "byte":
            rows.append(a_row(sequence, found=CHANGED))
        elif fate == "prediction":
            rows.append(a_row(sequence, has_prediction=False))
        elif fate in {"stored", "twice"}:
            rows += [a_row(sequence)] * (1 + (fate == "twice"))
    verdict = judged(
        a_witness(len(fates) - 1),
        rows,
        letters={n: [a_letter("frames_to_postgres")] for n, fate in enumerate(fates) if fate == "letter"},
        expired=[(n, n) for n, fate in enumerate(fates) if fate == "expired"],
    )
    assert verdict.stored == fates.count("stored")
    assert verdict.dead_lettered == fates.count("letter")
    assert verdict.expired == fates.count("expired")
    names = {"row": "no row", "object": "no object", "byte": "object differs", "prediction": "no prediction"}
    expected = [(n, (names | {"twice": "sequence twice"}).get(fate)) for n, fate in enumerate(fates)]
    assert [(named.sequence, named.problem) for named in verdict.problems] == [
        (n, name) for n, name in expected if name is not None
    ]


def test_verified_sequences_are_remembered_in_any_order() -> None:
    verified = Verified()
    for sequence in (0, 1, 2, 7, 8, 1, 5):
        verified.add(sequence)
    assert [sequence for sequence in range(10) if sequence in verified] == [0, 1, 2, 5, 7, 8]
