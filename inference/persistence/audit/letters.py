"""What was refused, by frame: the dead-letter topics and frame_conflicts.

dead letter of frames       its record's session_id and sequence, and its frame_id
dead letter of predictions  its record's frame_id
row of frame_conflicts      the loser's session_id and sequence
what cannot be decoded      tells no frame: listed apart, by the refused record's topic/partition/offset

Not every letter with a frame's number speaks of what is missing now. Left out are letters of another record with that
number, and those of a record that came again and was stored (decision 6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from connectors.dead_letters import DeadLetter
from connectors.serialisation import Codec
from contracts.errors import Rejected
from contracts.identifiers import UUID7
from contracts.records import Record
from contracts.topics import FRAMES, PREDICTIONS, SESSIONS, STREAM_CONSUMER
from inference.persistence.audit.verdicts import CONFLICTS, Evidence, Letter, Unreadable, Witness
from inference.persistence.database import Connection

_ROWS_CONSUMER: Final = "frames_to_postgres"
_ASKED: Final = 1000

# A loser with the number of the frame that is stored is no acknowledged frame of its own: it explains no missing row.
_CONFLICTS: Final = """
    SELECT lost.kafka_partition, lost.kafka_offset, lost.frame_id::text, lost.session_id::text, lost.sequence,
        lost.sha256, lost.stored_sha256
    FROM frame_conflicts AS lost JOIN all_frames AS stored ON stored.frame_id = lost.frame_id
    WHERE (stored.session_id, stored.sequence) <> (lost.session_id, lost.sequence)
    ORDER BY lost.noticed_at
"""
ROWLESS: Final = """
    SELECT DISTINCT frame_id::text FROM predictions
    WHERE frame_id = ANY(%s::uuid[])
        AND NOT EXISTS (SELECT FROM all_frames AS frames WHERE frames.frame_id = predictions.frame_id)
"""


class Letters:
    """Looks refused frames up. Holds no images."""

    def __init__(self) -> None:
        self._by_sequence: defaultdict[tuple[str, int], list[Letter]] = defaultdict(list)
        self._sequences: defaultdict[str, set[int]] = defaultdict(set)  # of each session in _by_sequence
        self._by_frame: dict[str, Letter] = {}  # those of predictions: only they know no sequence
        self._conflicts: dict[tuple[str, int], Letter] = {}
        self._refused: set[str] = set()
        self._refused_by: defaultdict[tuple[str, int, int], set[str]] = defaultdict(set)  # consumers of each record
        self._rowless: set[str] = set()  # frames that the stream worker refused and has predicted since, without a row
        self._unreadable: dict[str, Unreadable] = {}

    @property
    def unreadable(self) -> list[Unreadable]:
        """The letters that tell no frame, one per refused record."""
        return list(self._unreadable.values())

    def find(self, witness: Witness, sequence: int, row: Evidence | None) -> list[Letter]:
        """The letters that speak of what is missing now of a session's sequence.

        Args:
            witness: the session.
            sequence: the frame's number in it.
            row: what is stored under that number; None when there is no row.
        """
        key = (witness.session_id, sequence)
        refused = [letter for letter in self._by_sequence.get(key, ()) if not self._is_spent(letter, row)]
        if row is None:
            other = self._conflicts.get(key)
        else:
            own = (row.frame_id, row.sha256)
            refused = [letter for letter in refused if (letter.frame_id, letter.sha256) == own]
            other = self._by_frame.get(row.frame_id)
        return refused if other is None else [*refused, other]

    def sequences(self, session_id: str) -> set[int]:
        """The session's sequences for which `find` may find something without a row."""
        lost = {sequence for session, sequence in self._conflicts if session == session_id}
        return self._sequences.get(session_id, set()) | lost

    def knows(self, frame_id: str) -> bool:
        """Whether a frame with this id was refused somewhere, and not stored since."""
        return frame_id in self._refused and frame_id not in self._rowless

    def _is_spent(self, letter: Letter, row: Evidence | None) -> bool:
        """Whether something was stored that this record cannot have left, for its consumer refused it: it came again.

        So what is missing now was lost later, or is on its way for the second time.
        """
        refused_by = self._refused_by.get(letter.origin, ()) if letter.origin else ()
        if row is not None:
            return _ROWS_CONSUMER in refused_by
        return STREAM_CONSUMER in refused_by and letter.frame_id in self._rowless

    def add_dead_letters(self, letters: Iterable[DeadLetter], codec: Codec) -> None:
        """Takes what the dead-letter topics hold.

        Raises:
            Transient: the registry is away.
        """
        for letter in letters:
            if letter.origin_topic == SESSIONS.name:
                continue
            try:
                record = _decoded(letter, codec)
            except Rejected as error:
                self._add_unreadable(letter, str(error))
                continue
            found = Letter(
                consumer=letter.consumer,
                letter_id=letter.id,
                reason=letter.reason,
                frame_id=record["frame_id"],
                sha256=record.get("sha256"),
                origin=letter.origin,
            )
            self._refused.add(found.frame_id)
            if found.origin is not None:
                self._refused_by[found.origin].add(found.consumer)
            if letter.origin_topic == FRAMES.name:
                self._by_sequence[record["session_id"], record["sequence"]].append(found)
                self._sequences[record["session_id"]].add(record["sequence"])
            else:
                self._by_frame.setdefault(found.frame_id, found)

    def read_conflicts(self, connection: Connection) -> None:
        """Takes what lost against a stored frame with its id and another number, in place of what was read before."""
        rows = connection.execute(_CONFLICTS)
        self._conflicts = {
            (session_id, sequence): Letter(
                consumer=CONFLICTS,
                letter_id=f"{CONFLICTS}:{partition}/{offset}",
                reason=f"conflict: sha256 {sha256}, but frame {frame_id} was stored first with sha256 {stored_sha256}",
                frame_id=frame_id,
            )
            for partition, offset, frame_id, session_id, sequence, sha256, stored_sha256 in rows
        }

    def read_traces(self, connection: Connection) -> None:
        """Takes which refused frames have a prediction but no row, in place of what was read before."""
        refused = sorted(
            {
                letter.frame_id
                for letters in self._by_sequence.values()
                for letter in letters
                if letter.consumer == STREAM_CONSUMER and UUID7.fullmatch(letter.frame_id)
            }
        )
        self._rowless = {
            row[0]
            for start in range(0, len(refused), _ASKED)
            for row in connection.execute(ROWLESS, (refused[start : start + _ASKED],))
        }

    def _add_unreadable(self, letter: DeadLetter, reason: str) -> None:
        origin = "/".join(map(str, letter.origin)) if letter.origin else "unknown"
        key = origin if letter.origin else letter.id
        self._unreadable.setdefault(key, Unreadable(letter_id=letter.id, origin=origin, reason=reason))


def _decoded(letter: DeadLetter, codec: Codec) -> Record:
    if letter.origin_topic not in {FRAMES.name, PREDICTIONS.name}:
        raise Rejected(f"it came from no topic of ours: {letter.reason}", code="unknown_origin")
    return codec.decode(letter.origin_topic, letter.payload)
