"""Draws the copper of a bare circuit board that does not exist.

rng ─► one of the styles (digital, header, power, strips, sparse) ─► parts on a Sheet ─► turned ─► mask of copper
"""

from __future__ import annotations

import numpy as np

from connectors.cameras.board_parts import (
    area,
    bundle_from_edge,
    comb,
    meander,
    pad_row,
    parts,
    plane,
    through_holes,
    via_field,
    wires,
)
from connectors.cameras.board_sheet import SIDE, Mask, Rule, Sheet


def draw_board(rng: np.random.Generator) -> Mask:
    """Draws one board.

    Returns: [640, 640] uint8, 1 where copper is.
    """
    sheet = Sheet(rng)
    style = STYLES[int(rng.choice(len(STYLES), p=WEIGHTS))]
    style(sheet)
    copper = np.rot90(sheet.copper, int(rng.integers(4)))
    if rng.random() < 0.5:
        copper = copper[:, ::-1]
    return np.ascontiguousarray(copper)


def digital(sheet: Sheet) -> None:
    """Fine traces between rows of pads, vias strewn between."""
    rng = sheet.rng
    width = rng.uniform(5.5, 11)
    rule = Rule(width=width, gap=max(6.0, width * rng.uniform(0.8, 1.8)), via=width * rng.uniform(0.9, 1.5))
    for _ in range(int(rng.integers(1, 4))):
        pad_row(sheet, rule)
    if rng.random() < 0.6:
        through_holes(sheet, rule, radius=rng.uniform(16, 34))
    for _ in range(int(rng.integers(1, 4))):
        bundle_from_edge(sheet, rule)
    parts(sheet, rule, int(rng.integers(2, 9)))
    wires(sheet, rule, int(rng.integers(4, 22)))
    if rng.random() < 0.25:
        meander(sheet, rule)
    via_field(sheet, rule)
    if rng.random() < 0.2:
        plane(sheet, rule)


def header(sheet: Sheet) -> None:
    """Large drilled pads and wide traces, the look of a board with leaded parts."""
    rng = sheet.rng
    width = rng.uniform(9, 22)
    rule = Rule(width=width, gap=rng.uniform(9, 18), via=width * rng.uniform(0.7, 1.2))
    through_holes(sheet, rule, radius=rng.uniform(24, 46))
    if rng.random() < 0.6:
        through_holes(sheet, rule, radius=rng.uniform(20, 40))
    parts(sheet, rule, int(rng.integers(1, 6)))
    for _ in range(int(rng.integers(1, 3))):
        bundle_from_edge(sheet, rule)
    wires(sheet, rule, int(rng.integers(4, 12)))
    if rng.random() < 0.35:
        plane(sheet, rule)
    if rng.random() < 0.3:
        via_field(sheet, rule)


def power(sheet: Sheet) -> None:
    """Wide areas with chamfered corners and holes."""
    rng = sheet.rng
    rule = Rule(width=rng.uniform(10, 30), gap=rng.uniform(12, 34), via=rng.uniform(8, 20))
    for _ in range(int(rng.integers(2, 6))):
        area(sheet, rule, rng.uniform(120, 420, 2))
    if rng.random() < 0.6:
        bundle_from_edge(sheet, Rule(width=rng.uniform(7, 14), gap=rng.uniform(7, 14), via=10))
    heavy = Rule(width=rng.uniform(40, 90), gap=rule.gap, via=rng.uniform(45, 60))
    wires(sheet, heavy, int(rng.integers(0, 4)))
    parts(sheet, rule, int(rng.integers(0, 6)))
    wires(sheet, rule, int(rng.integers(2, 8)))
    if rng.random() < 0.4:
        plane(sheet, rule)


def strips(sheet: Sheet) -> None:
    """Bars side by side, some with teeth, some stepping aside."""
    rng = sheet.rng
    gap = rng.uniform(10, 60)
    wide = rng.uniform(16, 110)
    x = rng.uniform(-60, 20)
    step = rng.uniform(40, 160)
    teeth = rng.random() < 0.4
    bend = rng.uniform(80, 560)
    aside = rng.choice([0.0, 0.0, wide * 0.5, -wide * 0.5])
    while x < SIDE + 100:
        bar = wide * rng.uniform(0.35, 1.3)
        if teeth and bar > 60:
            comb(sheet, x, bar, step, min(gap * 0.5, bar * 0.2, step * 0.3))
        else:
            left, right = np.array([x, -9.0]), np.array([x + bar, -9.0])
            turn, shift = np.array([0.0, bend]), np.array([aside, bend + abs(aside)])
            low = np.array([aside, SIDE + 20.0])
            down, up = (left, left + turn, left + shift, left + low), (right + low, right + shift, right + turn, right)
            sheet.polygon(np.array([*down, *up]))
            for _ in range(int(rng.integers(0, 3)) if bar > 70 else 0):
                y = rng.uniform(0, SIDE)
                sheet.disc(np.array([x + bar / 2 + aside * (y > bend), y]), rng.uniform(8, 16), 0)
        x += bar + gap * rng.uniform(0.7, 1.3)


def sparse(sheet: Sheet) -> None:
    """The edge of a board: a few traces and vias in an empty field."""
    rng = sheet.rng
    width = rng.uniform(6, 24)
    rule = Rule(width=width, gap=width * rng.uniform(1, 2), via=width * rng.uniform(0.8, 1.3))
    if rng.random() < 0.5:
        pad_row(sheet, rule)
    else:
        bundle_from_edge(sheet, rule)
    if rng.random() < 0.5:
        area(sheet, rule, rng.uniform(100, 300, 2))
    parts(sheet, rule, int(rng.integers(1, 4)))
    wires(sheet, rule, int(rng.integers(2, 6)))
    via_field(sheet, rule)


STYLES = (digital, header, power, strips, sparse)
WEIGHTS = (0.38, 0.24, 0.18, 0.08, 0.12)
