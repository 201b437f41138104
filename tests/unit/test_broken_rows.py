from __future__ import annotations

from typing import Any

import pytest
from pandera.config import config_context

from contracts.checks import Broken, broken_rows
from contracts.errors import Misconfigured
from tests.support.rows import a_frame, a_prediction


def prediction(**changes: Any) -> dict[str, Any]:
    return a_prediction(a_frame()["frame_id"], **changes)


def test_rows_that_keep_the_contract_are_not_named() -> None:
    assert broken_rows("frames", [a_frame(sequence=number) for number in range(3)]) == []
    assert broken_rows("predictions", [prediction(), prediction()]) == []
    assert broken_rows("predictions", []) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"sha256": "short"}, "sha256: is_sha256 (short)"),
        ({"object_key": "elsewhere.jpg"}, "object_key_is_computed"),
        ({"width": 0}, "width: greater_than_or_equal_to(1) (0)"),
    ],
)
def test_a_broken_frame_is_named_with_what_is_wrong(changes: dict[str, Any], what: str) -> None:
    rows = [a_frame(), a_frame(**changes), a_frame()]
    assert broken_rows("frames", rows) == [Broken(topic="frames", key=(rows[1]["frame_id"],), what=what)]


def test_a_broken_prediction_is_named_by_frame_model_and_version() -> None:
    rows = [prediction(), prediction(labels=["open"]), prediction(confidences=[0.5, float("inf")])]
    found = broken_rows("predictions", rows)
    assert [one.key for one in found] == [(row["frame_id"], "pcb-defects", "1") for row in rows[1:]]
    assert [one.what.split(":")[0] for one in found] == ["arrays_fit", "confidences"]


def test_a_value_that_fits_no_column_does_not_hide_the_other_rows() -> None:
    rows = [prediction(), prediction(labels=["nul\x00"], role="\x00"), prediction(model_digest="x")]
    found = broken_rows("predictions", rows)
    assert [one.key[0] for one in found] == [rows[1]["frame_id"], rows[2]["frame_id"]]
    assert "Postgres cannot store" in found[0].what


def test_a_row_twice_is_named_twice() -> None:
    row = a_frame()
    assert {one.key for one in broken_rows("frames", [row, a_frame(), row])} == {(row["frame_id"],)}


def test_a_check_that_was_switched_off_does_not_run() -> None:
    with config_context(validation_enabled=False), pytest.raises(Misconfigured, match="PANDERA_VALIDATION_ENABLED"):
        broken_rows("frames", [a_frame()])
