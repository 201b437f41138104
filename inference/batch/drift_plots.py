"""Shifts as pictures: for each feature the shares of its bins then and now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.domain.drift import Shift


def draw(folder: Path, shifts: Sequence[Shift], *, then: str, now: str) -> None:
    """Writes <feature>.png for each.

    Args:
        folder: there.
        shifts: of one report.
        then: the reference, in words.
        now: the day.
    """
    for shift in shifts:
        _draw(folder / f"{shift.feature}.png", shift, then, now)


def _draw(file: Path, shift: Shift, then: str, now: str) -> None:
    # The object interface: pyplot would pick a window system and keep every figure for ever.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shift.bins))
    axes.bar(places - 0.2, shift.then, width=0.4, label=then)
    axes.bar(places + 0.2, shift.now, width=0.4, label=now)
    axes.set_xticks(places, shift.bins, rotation=45, ha="right")
    axes.set(ylabel="share", title=f"{shift.feature}: PSI {shift.psi:.3f}")
    axes.legend()
    figure.savefig(file, dpi=100)
