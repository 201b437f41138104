"""Where a session stands, and how it ended, as values and in words."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.cameras.images import printable
from contracts.errors import PipelineError, Rejected, Transient
from contracts.identifiers import CAMERA_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a session stands."""

    session_id: str
    camera_id: str
    captured: int  # frames given to the producer
    acknowledged: int
    last_acknowledged: int  # largest n for which 0..n are all acknowledged
    rejected: int  # images refused at the camera
    waiting_for: str  # for a person; empty when it waits for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a session ended."""

    session_id: str
    camera_id: str
    source: str
    captured: int  # frames given to the producer
    acknowledged: int
    rejected: dict[str, int]  # images refused at the camera, by code
    rejections: list[str]  # "name: reason" of the first twenty
    unacknowledged: list[int]  # the first twenty sequences
    is_closed: bool  # its closing record is acknowledged
    seconds: float
    broken: PipelineError | None = None  # why the broker would take no more

    @property
    def failure(self) -> PipelineError | None:
        """What a command must end with: None when at least one frame was sent, or nothing was refused."""
        if self.broken is not None:
            return self.broken
        if not self.is_closed:
            return Transient(f"{self.captured - self.acknowledged} of {self.captured} frames were not acknowledged")
        if self.captured == 0 and self.rejected:
            return Rejected("every image was rejected, with the reasons above", code="all_rejected")
        return None

    def in_words(self) -> str:
        """The one line that `sightline send` ends with, and what a person must know beside it."""
        refused = sum(self.rejected.values())
        line = f"captured {self.captured}, acknowledged {self.acknowledged}, rejected {refused}"
        if refused:
            line += " (" + ", ".join(f"{count} {code}" for code, count in sorted(self.rejected.items())) + ")"
        lines = [f"{line} in {self.seconds:.1f} s, session {self.session_id}"]
        lines += [f"  rejected {printable(rejection)}" for rejection in self.rejections]
        if refused > len(self.rejections):
            lines.append(f"  and {refused - len(self.rejections)} more, see the log")
        missing = self.captured - self.acknowledged
        if missing:
            named = ", ".join(map(str, self.unacknowledged)) + (" ..." if missing > len(self.unacknowledged) else "")
            lines.append(
                f"  {missing} not acknowledged (sequence {named}): the broker may or may not have them; "
                "send these images again"
            )
        if not self.is_closed:
            lines.append("  the session was left open: `sightline audit` judges it up to its last acknowledged frame")
        return "\n".join(lines)


def require_camera_id(camera_id: str) -> str:
    """The camera_id, when it is one.

    Raises:
        Rejected: it does not match the contract's pattern (bad_camera_id).
    """
    if not CAMERA_ID.fullmatch(camera_id):
        raise Rejected(
            f"{camera_id[:80]!r} is no camera id: lower-case letters, digits, '.', '_' and '-', beginning with a "
            "letter or digit, at most 63, such as line-3.top",
            code="bad_camera_id",
        )
    return camera_id
