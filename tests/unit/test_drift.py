from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from inference.domain.drift import (
    LARGE,
    Histogram,
    Reference,
    Seen,
    compare,
    counted,
    deciles,
    oddest,
    parse,
    psi,
    reference_of,
)
from inference.domain.image_figures import figures_of


def seen(frame_id: str, *, labels: tuple[str, ...] = (), **values: tuple[float, ...]) -> Seen:
    return Seen(frame_id=frame_id, values=values, labels=labels)


def a_reference(**changes: Any) -> Reference:
    """Half of the images darker than 100, half of the boxes open."""
    values = {"version": "1", "day": "2026-01-02", "frames": 100, "labels": {"open": 50, "short": 50}}
    features = {"brightness": Histogram(edges=(100.0,), counts=(50, 50))}
    return Reference(**{"features": features} | values | changes)


def test_psi_is_what_a_hand_computes() -> None:
    # (0.25 - 0.5) ln(0.25 / 0.5) + (0.75 - 0.5) ln(0.75 / 0.5) = 0.25 * 0.6931 + 0.25 * 0.4055
    assert psi((0.5, 0.5), (0.25, 0.75)) == pytest.approx(0.274653, abs=1e-6)
    # 0.1 ln(0.3 / 0.2) + 0 + (-0.1) ln(0.4 / 0.5) = 0.0405 + 0.0223
    assert psi((0.2, 0.3, 0.5), (0.3, 0.3, 0.4)) == pytest.approx(0.062861, abs=1e-6)
    assert psi((0.5, 0.5), (0.5, 0.5)) == 0


def test_an_empty_bin_counts_as_a_ten_thousandth() -> None:
    expected = (0.5 - 1e-4) * math.log(0.5 / 1e-4) + (0.5 - 1.0) * math.log(0.5 / 1.0)
    assert psi((1e-4, 1.0), (0.5, 0.5)) == pytest.approx(expected)
    assert psi((0.0, 1.0), (0.5, 0.5)) == pytest.approx(expected)


def test_psi_is_the_same_both_ways() -> None:
    assert psi((0.2, 0.8), (0.6, 0.4)) == pytest.approx(psi((0.6, 0.4), (0.2, 0.8)))


def test_deciles_hold_a_tenth_each_and_fewer_bins_where_values_repeat() -> None:
    values = list(range(1000))
    assert counted(values, deciles(values)) == (100,) * 10
    assert deciles([7.0] * 50) == (7.0,)
    assert counted([6.9, 7.0, 7.1], (7.0,)) == (1, 2)


def test_the_same_frames_have_not_drifted() -> None:
    frames = [seen(str(n), brightness=(float(n),), labels=("open",)) for n in range(100)]
    shifts = compare(reference_of(frames, version="1", day="2026-01-02"), frames)
    assert {shift.feature: shift.psi for shift in shifts} == {"brightness": 0.0, "label": 0.0}


def test_a_shift_is_told_per_feature_the_largest_first() -> None:
    frames = [seen(str(n), brightness=(50.0 if n < 25 else 150.0,), labels=("open",)) for n in range(100)]
    label, brightness = compare(a_reference(), frames)
    assert (brightness.feature, label.feature) == ("brightness", "label")
    assert brightness.psi == pytest.approx(0.274653, abs=1e-6)
    assert brightness.bins == ("below 100", "from 100")
    assert (label.bins, label.then, label.now) == (("open", "short"), (0.5, 0.5), (1.0, 0.0))
    assert brightness.is_large


def test_a_new_label_is_a_shift_and_a_feature_without_values_is_left_out() -> None:
    [label] = compare(a_reference(), [seen("a", labels=("scratch",))])
    assert label.bins == ("open", "scratch", "short")
    assert label.psi > LARGE
    assert compare(a_reference(), [seen("a")]) == []


def test_the_frames_of_the_kind_that_grew_are_the_oddest() -> None:
    frames = [seen(f"dark {n}", brightness=(50.0,)) for n in range(10)]
    frames += [seen(f"bright {n}", brightness=(150.0,)) for n in range(90)]
    reference = a_reference()
    found = oddest(reference, compare(reference, frames), frames, most=5)
    assert [one.frame_id for one in found] == [f"bright {n}" for n in (0, 1, 10, 11, 12)]
    assert found[0].feature == "brightness"
    assert found[0].score == pytest.approx(math.log(0.9 / 0.5))


def test_without_a_large_shift_no_frame_is_odd() -> None:
    frames = [seen(str(n), brightness=(50.0 if n < 48 else 150.0,)) for n in range(100)]
    reference = a_reference()
    assert oddest(reference, compare(reference, frames), frames, most=5) == []


def test_a_frame_is_named_once_though_several_features_shifted() -> None:
    frames = [seen(str(n), brightness=(150.0,), labels=("short",)) for n in range(100)]
    reference = a_reference()
    found = oddest(reference, compare(reference, frames), frames, most=1000)
    assert len(found) == len({one.frame_id for one in found}) == 100


def test_a_reference_is_read_back_as_it_was() -> None:
    reference = a_reference()
    assert parse(reference.document()) == reference


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "features": {"a": {}}}'])
def test_what_is_no_reference_is_said(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any words
        parse(text)


def test_light_and_focus_have_a_number_each() -> None:
    board = np.zeros((64, 64, 3), np.uint8)
    board[:, ::2] = 200
    flat = np.full((64, 64, 3), 100, np.uint8)
    assert figures_of(flat).brightness == figures_of(board).brightness == 100
    assert figures_of(flat).sharpness == 0 < figures_of(board).sharpness
