"""The versions that did not work here, why, and when to try them again.

Transient      tried again in the next round
anything else  after a minute: files do not mend themselves, but a person may mend what they need
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contracts.errors import PipelineError, Transient
from inference.serving.served_models import ROLES, Role

AGAIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    error: PipelineError
    until: float  # by the clock


class Refusals:
    """For each role the versions that should have it and do not. Each role is written by its own thread only."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._noted: dict[Role, dict[str, _Refusal]] = {role: {} for role in ROLES}

    def note(self, role: Role, version: str, error: PipelineError) -> bool:
        """Keeps the reason. False when it is the same as before: nothing new to tell."""
        before = self._noted[role].get(version)
        wait = 0.0 if isinstance(error, Transient) else AGAIN_SECONDS
        self._noted[role] = self._noted[role] | {version: _Refusal(error=error, until=self._clock() + wait)}
        return before is None or str(before.error) != str(error)

    def resting(self, role: Role) -> frozenset[str]:
        """The versions not to be tried now."""
        now = self._clock()
        return frozenset(version for version, noted in self._noted[role].items() if now < noted.until)

    def error(self, role: Role, version: str) -> PipelineError | None:
        """Why that version does not have the role, tried again or not."""
        noted = self._noted[role].get(version)
        return noted.error if noted else None

    def newest(self, role: Role) -> PipelineError | None:
        """Why the version that was tried last does not have the role; None where all is well."""
        return next((noted.error for noted in reversed(self._noted[role].values())), None)

    def forget(self, role: Role, *, but: str | None = None) -> None:
        """Drops what is no longer of interest: all versions but the one that should have the role."""
        self._noted[role] = {version: noted for version, noted in self._noted[role].items() if version == but}
