"""`sightline model promote`, asked for again: what the API refuses is told apart from what is done already."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import Rejected, Transient
from sightline.commands.model import _decided

ROWS = [
    {"id": 9, "version": "8", "state": "reverted"},
    {"id": 8, "version": "7", "state": "done"},
    {"id": 7, "version": "6", "state": "done"},
]


class Api:
    """Refuses every decision with a code; has a ledger."""

    def __init__(self, code: str) -> None:
        self._code = code

    def post(self, _path: str, _body: Any) -> Any:
        raise Rejected("no", code=self._code)

    def get(self, _path: str, **_: Any) -> Any:
        return {"items": ROWS}


def decided(code: str, version: str, what: str = "promote") -> Any:
    return _decided(Api(code), version, what, {})  # type: ignore[arg-type]


def test_a_promotion_that_is_done_already_answers_with_its_row() -> None:
    assert decided("already_champion", "7") == ROWS[1]


@pytest.mark.parametrize(
    ("code", "version", "what"),
    [("already_champion", "6", "promote"), ("already_champion", "7", "rollback"), ("gate_not_passed", "7", "promote")],
)
def test_any_other_refusal_stays_one(code: str, version: str, what: str) -> None:
    with pytest.raises(Rejected) as refused:
        decided(code, version, what)
    assert refused.value.code == code


@pytest.mark.parametrize("what", ["promote", "rollback"])
def test_another_decision_under_way_is_to_be_tried_again(what: str) -> None:
    with pytest.raises(Transient):
        decided("promotion_under_way", "7", what)
