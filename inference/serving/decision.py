"""What a process does about the model of a role, without doing it. Pure.

champion    named and held        keep
            named, not held       load it: it takes the place of the old one between two batches
            named, but refused    keep the old one
            not named             keep the old one: nobody said who else

challenger  named and held        keep
            named, not held       load it
            named, but refused    release the old one: it is no challenger any more
            not named, or it is the champion    release the old one
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from inference.serving.served_models import Role


class Act(StrEnum):
    """What is to be done."""

    KEEP = "keep"
    LOAD = "load"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An act, and the version to load."""

    act: Act
    version: str = ""


def decide(
    role: Role, *, named: str | None, held: str | None, champions: Collection[str] = (), refused: Collection[str] = ()
) -> Decision:
    """What to do about one role.

    Args:
        role: champion or challenger.
        named: the version that should have the role; None: none.
        held: the version that has it here.
        champions: versions that are champion, here or by the ledger: none of them is a challenger.
        refused: versions that did not work here a moment ago.
    """
    if role == "challenger" and named in champions:
        named = None
    if named is not None and named == held:
        return Decision(act=Act.KEEP)
    if named is not None and named not in refused:
        return Decision(act=Act.LOAD, version=named)
    if role == "challenger" and held is not None:
        return Decision(act=Act.RELEASE)
    return Decision(act=Act.KEEP)
