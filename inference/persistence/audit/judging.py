"""The pure part of the audit: what each acknowledged sequence of a session is.

    stored          row, object with the row's digest, at least one prediction
    dead-lettered   each thing it lacks was refused by the consumer that writes it: in its dead-letter topic, or in
                    frame_conflicts; a frame that was replayed lacks nothing and is stored
    expired         in a range of expirations
    on its way      of a session in progress, captured or acknowledged less than GRACE ago
    a problem       everything else, named:
                    no row, sequence twice, no object, object differs, no prediction

acknowledged = stored + dead-lettered + expired + on their way + problems

One problem more where a session is closed with a gap: closed, though not all that it captured was acknowledged.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Final

from contracts.topics import STREAM_CONSUMER
from contracts.validity import CLOCK_SKEW
from inference.persistence.audit.verdicts import (
    CONFLICTS,
    DIFFERS,
    GAP,
    GRACE,
    NAMED,
    NO_OBJECT,
    NO_PREDICTION,
    NO_ROW,
    TWICE,
    Evidence,
    Expiration,
    Letter,
    Named,
    SessionVerdict,
    Witness,
)
from inference.persistence.objects import Digest

# What a consumer's refusal leaves missing. So a row that is deleted is named although another consumer refused it.
# Which letters count at all, and what a letter may hide for as long as it is kept: decision 6.
EXPLAINS: Final = {
    "frames_to_s3": frozenset({NO_OBJECT, DIFFERS}),
    "frames_to_postgres": frozenset({NO_ROW}),
    CONFLICTS: frozenset({NO_ROW}),
    STREAM_CONSUMER: frozenset({NO_PREDICTION}),
    "predictions_to_postgres": frozenset({NO_PREDICTION}),
}
_MAY_ARRIVE: Final = frozenset({NO_ROW, NO_OBJECT, NO_PREDICTION})
_MANY: Final = 10_000  # so many missing sequences in a row are counted one by one, and more at once

FindLetters = Callable[[int, Evidence | None], Sequence[Letter]]
"""The dead letters that count for a sequence with this row, or without one."""


def judge(
    witness: Witness,
    evidence: Iterable[Evidence],
    *,
    find_letters: FindLetters,
    refused: Iterable[int],
    expirations: Sequence[Expiration],
    now: datetime,
) -> SessionVerdict:
    """Decides for each acknowledged sequence of a session what it is.

    Args:
        witness: the session.
        evidence: its rows with sequences in what is judged, in order of sequence.
        find_letters: looks up what was refused.
        refused: the session's sequences for which it may find something without a row.
        expirations: the session's ranges.
        now: for what may still be on its way.
    """
    tally = _Tally(witness, find_letters, expirations, now)
    cuts = _cuts(witness, refused, expirations)
    expected = witness.first_sequence
    previous_at = witness.started_at  # a frame was captured after the one before it
    for sequence, group in groupby(evidence, key=attrgetter("sequence")):
        tally.add_missing(expected, sequence, cuts, captured_after=previous_at)
        rows = list(group)
        tally.add(sequence, rows[0], _faults(rows), captured_after=rows[0].captured_at)
        previous_at = max(previous_at, rows[0].captured_at)
        expected = sequence + 1
    tally.add_missing(expected, witness.last_acknowledged + 1, cuts, captured_after=previous_at)
    if witness.closed_at is not None and witness.last_acknowledged < witness.captured - 1:
        tally.add_gap()
    return tally.verdict


def _cuts(witness: Witness, refused: Iterable[int], expirations: Sequence[Expiration]) -> list[int]:
    """Where missing sequences may begin to be something else than the one before."""
    cuts = {witness.captured}
    for sequence in refused:
        cuts |= {sequence, sequence + 1}
    for taken in expirations:
        cuts |= {taken.first_sequence, taken.last_sequence + 1}
    cuts |= {news.last_acknowledged + 1 for news in witness.news}
    return sorted(cuts)


def _faults(rows: Sequence[Evidence]) -> list[tuple[str, str]]:
    """What keeps the rows of one sequence from being one stored frame, as (name, detail)."""
    if len(rows) > 1:
        return [(TWICE, "frames " + ", ".join(row.frame_id for row in rows))]
    [row] = rows
    faults = []
    if row.found is None:
        faults.append((NO_OBJECT, row.object_key))
    elif row.found != row.expected:
        faults.append(
            (
                DIFFERS,
                f"{row.object_key} has {_in_words(row.found)}, its row says {_in_words(row.expected)}",
            )
        )
    if not row.has_prediction:
        faults.append((NO_PREDICTION, "no model version has written one"))
    return faults


def _in_words(digest: Digest) -> str:
    return f"{digest.size_bytes} bytes with sha256 {digest.sha256}"


class _Tally:
    """Counts and names, one sequence at a time, or many that are alike."""

    def __init__(
        self, witness: Witness, find_letters: FindLetters, expirations: Sequence[Expiration], now: datetime
    ) -> None:
        self.verdict = SessionVerdict(witness=witness, state=witness.state(now))
        self._find_letters = find_letters
        self._expirations = expirations
        self._now = now

    def add_missing(self, first: int, end: int, cuts: Sequence[int], *, captured_after: datetime) -> None:
        """Puts the sequences from `first` to before `end`, which have no row, where they belong.

        A record may claim any number of them: between two cuts they are alike, and many are counted at once.
        """
        bounds = [first, *cuts[bisect_right(cuts, first) : bisect_left(cuts, end)], end]
        for start, stop in pairwise(bounds):
            if stop - start > _MANY:
                detail = f"sequences {start} to {stop - 1}"
                self.add(start, None, [(NO_ROW, detail)], captured_after=captured_after, count=stop - start)
                continue
            for missing in range(start, stop):
                self.add(missing, None, [(NO_ROW, "")], captured_after=captured_after)

    def add(
        self,
        sequence: int,
        row: Evidence | None,
        faults: Sequence[tuple[str, str]],
        *,
        captured_after: datetime,
        count: int = 1,
    ) -> None:
        """Puts one sequence where it belongs, and as many after it as are alike."""
        verdict = self.verdict
        if not faults:
            verdict.stored += 1
            return
        name, detail = faults[0]
        frame_id = None if row is None else row.frame_id
        letter = self._explanation(sequence, row, [fault for fault, _ in faults])
        if letter is not None:
            verdict.dead_lettered += count
            self._name(verdict.dead_letters, sequence, letter.frame_id, letter.letter_id, letter.reason)
        elif name in _MAY_ARRIVE and self._is_expired(sequence):
            verdict.expired += count
        elif name in _MAY_ARRIVE and verdict.state == "in progress" and self._is_young(sequence, captured_after):
            verdict.pending += count
            self._name(verdict.pending_frames, sequence, frame_id, name, detail)
        else:
            verdict.problem_count += count
            others = "".join(f"; also {other}" for other, _ in faults[1:])
            self._name(verdict.problems, sequence, frame_id, name, detail + others)

    def add_gap(self) -> None:
        """Names the end of what was captured: the close says that the broker has it, the numbers that it has not."""
        witness = self.verdict.witness
        self.verdict.problem_count += 1
        detail = f"{witness.captured} captured, but acknowledged only up to sequence {witness.last_acknowledged}"
        self._name(self.verdict.problems, None, None, GAP, detail)

    def _explanation(self, sequence: int, row: Evidence | None, faults: Sequence[str]) -> Letter | None:
        """The letter that explains the first fault, if each of them is explained by one."""
        letters = self._find_letters(sequence, row)
        found = [
            next((letter for letter in letters if fault in EXPLAINS.get(letter.consumer, ())), None) for fault in faults
        ]
        return found[0] if all(found) else None

    def _is_expired(self, sequence: int) -> bool:
        return any(taken.first_sequence <= sequence <= taken.last_sequence for taken in self._expirations)

    def _is_young(self, sequence: int, captured_after: datetime) -> bool:
        """Captured a moment ago, or acknowledged a moment ago: a slow camera, or one whose broker was away.

        Never what was not captured, or will be in the far future: such a record is wrong, and nothing is on its way.
        """
        witness = self.verdict.witness
        times = (captured_after, witness.acknowledged_at(sequence) or captured_after)
        is_young = any(-CLOCK_SKEW <= self._now - at <= GRACE for at in times)
        return is_young and sequence < witness.captured

    def _name(self, names: list[Named], sequence: int | None, frame_id: str | None, problem: str, detail: str) -> None:
        if len(names) < NAMED:
            witness = self.verdict.witness
            names.append(
                Named(
                    session_id=witness.session_id,
                    camera_id=witness.camera_id,
                    sequence=sequence,
                    frame_id=frame_id,
                    problem=problem,
                    detail=detail,
                )
            )
