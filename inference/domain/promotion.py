"""What may become champion, what a half-done promotion becomes, and where the aliases belong. Pure.

Candidate, champion, verdict, demands ──refusal──► None: it may be promoted | Refusal: why not, and what to do
a row that is still intended ──settlement──► finish | revert
aliases as they are, the champion ──alias_changes──► what to write, in this order
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from contracts.identifiers import SHA256

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS: Final = "previous_champion"

REVIEWED: Final = "reviewed"  # a gate set that people labelled, from an empty page
ADVISED_BOARDS: Final = (
    100  # where simulated boards count, so many are enough for every threshold of the committed gate file
)
_SETS: Final = {"simulated": "boards of the simulator", "labelled": "a folder that somebody named"}


class Settlement(Enum):
    """What becomes of a promotion whose process died."""

    FINISH = "finish"
    REVERT = "revert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The version that is to become champion, as MLflow knows it."""

    version: str
    is_registered: bool
    digest: str  # sha256 of its model.onnx, by its tag; empty: the tag is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The newest word of the gate on a version, as far as a promotion asks."""

    is_pass: bool
    digest: str  # sha256 of the model.onnx that was evaluated
    champion: str | None  # compared with
    reasons: tuple[str, ...]
    gate_digest: str  # of the gate file that it was held against
    gate_set: str  # what it was judged on: reviewed, labelled, simulated; empty: nobody wrote it down


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a pass must rest on to open a promotion."""

    gate_digest: str  # of the gate file in force
    is_any_set: bool  # False: on reviewed frames alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why not, and what to do."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasChange:
    """One write to the registry. None: no version has the alias."""

    alias: str
    was: str | None
    version: str | None


def refusal(
    candidate: Candidate, *, champion: str | None, judged: Judged | None, demands: Demands | None
) -> Refusal | None:
    """Why the candidate may not become champion; None: it may.

    Args:
        candidate: the version.
        champion: who is champion by the ledger.
        judged: the newest word of the gate on the candidate.
        demands: what it must rest on; None asks no gate, for a version that was champion before (rollback).
    """
    version = candidate.version
    if not candidate.is_registered:
        return Refusal(code="unknown_version", message=f"there is no version {version}: `sightline model list`")
    if champion == version:
        return Refusal(code="already_champion", message=f"version {version} is the champion already")
    if not SHA256.fullmatch(candidate.digest):
        return Refusal(
            code="digest_missing",
            message=f"version {version} has no digest, so nobody could tell what is served: deliver the model again",
        )
    if demands is not None and (reason := _unpassed(candidate, champion, judged, demands)):
        return Refusal(code="gate_not_passed", message=f"{reason}: {_judging(version, demands)}")
    return None


def _unpassed(candidate: Candidate, champion: str | None, judged: Judged | None, demands: Demands) -> str | None:
    """Why the gate's word does not do."""
    version = candidate.version
    if judged is None:
        return f"the gate has not seen version {version}"
    if not judged.is_pass:
        return f"the gate holds version {version} ({'; '.join(judged.reasons) or 'without a reason'})"
    if judged.digest != candidate.digest:
        return f"the gate saw other files of version {version} than those that would serve"
    if judged.champion != champion:
        return (
            f"the gate compared version {version} with {_version(judged.champion)}, "
            f"and the champion is {_version(champion)} now"
        )
    if judged.gate_digest != demands.gate_digest:
        return (
            f"the gate held version {version} against another gate file than the one in force; judge it without --gate"
        )
    if judged.gate_set != REVIEWED and not demands.is_any_set:
        return (
            f"the gate judged version {version} on {_SETS.get(judged.gate_set, 'a set that nobody wrote down')}, and here "
            "only the reviewed frames of gate blocks count; judge it without --boards and --labelled"
        )
    return None


def _judging(version: str, demands: Demands) -> str:
    """What to run. Where any set counts nobody need have reviewed a frame, so that command works on a fresh stack too."""
    if not demands.is_any_set:
        return f"`sightline model gate {version}`"
    return f"`sightline model gate {version} --boards {ADVISED_BOARDS}`, or without --boards on the reviewed frames of gate blocks"


def settlement(intended_version: str, alias_version: str | None) -> Settlement:
    """What becomes of a row that is still intended while nobody works on it.

    A promotion writes: row intended, aliases (the champion's after its predecessor's), row done. Killed anywhere
    between, it leaves one of two pictures, told apart by the alias `champion`:

    - The alias has not moved. Nobody was told yes, and nobody who reads MLflow or the ledger has seen the new version:
      reverted, and the old one stays champion. Finishing instead would make a champion of a wish that may be hours old,
      long after who had it has asked again, or decided otherwise.
    - The alias has moved. Who reads MLflow has seen the new version, the gate had passed it and a person approved:
      finished. Reverting instead would show such readers a champion that the ledger says there never was.

    The rest of the aliases is written after this decision and before the row ends (finish), or after it (revert); both
    can be repeated, and a second death in between meets the same picture again. So it always ends as old or as new.

    Args:
        intended_version: of the row.
        alias_version: which version has the alias `champion` in MLflow now.
    """
    return Settlement.FINISH if alias_version == intended_version else Settlement.REVERT


def alias_changes(aliases: Mapping[str, str], *, champion: str, previous: str | None) -> list[AliasChange]:
    """What to write so that the aliases say what the ledger says, in the order in which to write it.

    The champion's alias decides what becomes of a half-done promotion, so its predecessor's is written before it.
    The challenger's is nobody's business here, but that a champion is not its own challenger.
    """
    wanted: dict[str, str | None] = {PREVIOUS: previous, CHAMPION: champion}
    if aliases.get(CHALLENGER) == champion:
        wanted[CHALLENGER] = None
    return [
        AliasChange(alias=alias, was=aliases.get(alias), version=version)
        for alias, version in wanted.items()
        if aliases.get(alias) != version
    ]


def _version(version: str | None) -> str:
    return "no champion" if version is None else f"version {version}"
