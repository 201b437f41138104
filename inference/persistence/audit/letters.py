"""What was refused, by frame: the dead-letter topics and frame_conflicts.

dead letter of frames       its record's session_id and sequence, and its frame_id
dead letter of predictions  its record's frame_id
row of frame_conflicts      the loser's session_id and sequence
what cannot be decoded      tells no frame: listed apart, by the refused record's topic/partition/offset
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from connectors.dead_letters import DeadLetter
from connectors.serialisation import Codec
from contracts.errors import Rejected
from contracts.records import Record
from contracts.topics import FRAMES, PREDICTIONS, SESSIONS
from inference.persistence.audit.verdicts import CONFLICTS, Letter, Unreadable, Witness
from inference.persistence.database import Connection


class Letters:
    """Looks refused frames up. Holds no images."""

    def __init__(self) -> None:
        self._by_sequence: defaultdict[tuple[str, int], list[Letter]] = defaultdict(list)
        self._by_frame: dict[str, Letter] = {}  # those of predictions: only they know no sequence
        self._conflicts: dict[tuple[str, int], Letter] = {}
        self._refused: set[str] = set()
        self._unreadable: dict[str, Unreadable] = {}

    @property
    def unreadable(self) -> list[Unreadable]:
        """The letters that tell no frame, one per refused record."""
        return list(self._unreadable.values())

    def find(self, witness: Witness, sequence: int, frame_id: str | None) -> list[Letter]:
        """The letters of a session's sequence, and those of predictions for the frame that is stored for it."""
        key = (witness.session_id, sequence)
        found = [*self._by_sequence.get(key, ()), self._conflicts.get(key), self._by_frame.get(frame_id or "")]
        return [letter for letter in found if letter is not None]

    def knows(self, frame_id: str) -> bool:
        """Whether a frame with this id was refused somewhere."""
        return frame_id in self._refused

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
                consumer=letter.consumer, letter_id=letter.id, reason=letter.reason, frame_id=record["frame_id"]
            )
            self._refused.add(found.frame_id)
            if letter.origin_topic == FRAMES.name:
                self._by_sequence[record["session_id"], record["sequence"]].append(found)
            else:
                self._by_frame.setdefault(found.frame_id, found)

    def read_conflicts(self, connection: Connection) -> None:
        """Takes what lost against a stored frame with its id, in place of what was read before."""
        rows = connection.execute(
            "SELECT kafka_partition, kafka_offset, frame_id::text, session_id::text, sequence, sha256, stored_sha256 "
            "FROM frame_conflicts ORDER BY noticed_at"
        )
        self._conflicts = {
            (session_id, sequence): Letter(
                consumer=CONFLICTS,
                letter_id=f"{CONFLICTS}:{partition}/{offset}",
                reason=f"conflict: sha256 {sha256}, but frame {frame_id} was stored first with sha256 {stored_sha256}",
                frame_id=frame_id,
            )
            for partition, offset, frame_id, session_id, sequence, sha256, stored_sha256 in rows
        }

    def _add_unreadable(self, letter: DeadLetter, reason: str) -> None:
        origin = "/".join(map(str, letter.origin)) if letter.origin else "unknown"
        key = origin if letter.origin else letter.id
        self._unreadable.setdefault(key, Unreadable(letter_id=letter.id, origin=origin, reason=reason))


def _decoded(letter: DeadLetter, codec: Codec) -> Record:
    if letter.origin_topic not in {FRAMES.name, PREDICTIONS.name}:
        raise Rejected(f"it came from no topic of ours: {letter.reason}", code="unknown_origin")
    return codec.decode(letter.origin_topic, letter.payload)
