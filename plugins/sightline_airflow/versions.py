"""Which version a run scores with: named once, in its plan, and carried to every task after it. Pure.

7 ──► 7      champion ──► by the ledger      another alias ──► by GET /v1/models
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from contracts.errors import Rejected, Transient

CHAMPION: Final = "champion"  # as inference.domain.promotion has it, whose imports are not in Airflow's environment


def number_of(model: str, *, champion: Callable[[], str | None], models: Callable[[], Mapping[str, Any]]) -> str:
    """The version's number.

    Args:
        model: a number, or an alias.
        champion: whom the ledger names; asked only when that is the question.
        models: the answer of GET /v1/models; likewise.

    Raises:
        Rejected: nobody has the alias.
        Transient: nobody is champion yet.
    """
    if model.isdigit():
        return model
    if model == CHAMPION:
        found = champion()
        if found is None:
            raise Transient("no version is champion yet: promote one, then clear this task")
        return found
    named = next((str(one["version"]) for one in models()["items"] if model in one["aliases"]), None)
    if named is None:
        raise Rejected(f"no version has the alias {model}: name a version by its number", code="unknown_alias")
    return named
