"""The parts of a simulated board: pads, traces, vias, areas of copper.

    Sheet + Rule ─► pad_row, bundle_from_edge, wires, parts, through_holes, area, plane, comb, meander, via_field

Each part looks for room, draws what fits, and gives up quietly where nothing does.
"""

from __future__ import annotations

import cv2
import numpy as np

from connectors.cameras.board_sheet import (
    SIDE,
    SUBPIXEL,
    Points,
    Rule,
    Sheet,
    box_corners,
    chamfered,
    fixed_point,
    offset,
    path_lengths,
    sample,
    unit,
    unit_ring,
    wander,
)


def pad_row(sheet: Sheet, rule: Rule) -> None:
    """A connector or one side of a chip: pads in a row, a trace fanning out of each."""
    rng = sheet.rng
    count = int(rng.integers(4, 16))
    pitch = rule.pitch * rng.uniform(1.2, 2.2)
    heading = 2 * int(rng.integers(4))
    ahead, across = unit(heading), unit(heading + 2)
    long, wide = pitch * rng.uniform(0.9, 2.4), pitch * rng.uniform(0.45, 0.62)
    start = rng.uniform(40, SIDE - 40, 2) - across * count * pitch / 2
    is_round = rng.random() < 0.4
    path = wander(rng, start + across * (count - 1) * pitch / 2, heading, count * pitch)
    for index in range(count):
        centre = start + across * index * pitch
        corners = box_corners(centre, ahead * long / 2, across * wide / 2)
        if not sheet.is_free(corners, rule.gap * 0.6):
            continue
        if is_round:
            sheet.line(np.array([centre - ahead * (long - wide) / 2, centre + ahead * (long - wide) / 2]), wide)
        else:
            sheet.polygon(corners)
        if rng.random() < 0.85:
            lane = offset(path, (index - (count - 1) / 2) * pitch)
            route(sheet, lane, rule, skip=long / 2 + rule.width / 2 + rule.gap + 6)


def bundle_from_edge(sheet: Sheet, rule: Rule) -> None:
    """Traces side by side, entering at an edge, bending together."""
    rng = sheet.rng
    count = int(rng.integers(2, 12))
    heading = 2 * int(rng.integers(4))
    ahead, across = unit(heading), unit(heading + 2)
    pitch = rule.pitch * rng.uniform(1.0, 1.5)
    start = np.full(2, SIDE / 2) - ahead * (SIDE / 2 + 30) + across * rng.uniform(-260, 260)
    path = wander(rng, start, heading, count * pitch)
    for index in range(count):
        if rng.random() < 0.93:
            route(sheet, offset(path, (index - (count - 1) / 2) * pitch), rule, skip=0.0)


def wires(sheet: Sheet, rule: Rule, count: int) -> None:
    """Single traces from a pad to wherever there is room."""
    rng = sheet.rng
    for _ in range(count):
        width = rule.width * rng.choice([0.7, 1.0, 1.0, 1.5, 2.2])
        own = Rule(width=float(np.clip(width, 5, 90)), gap=rule.gap, via=max(rule.via, width * 0.65))
        start = rng.uniform(10, SIDE - 10, 2)
        radius = own.via * rng.uniform(1.0, 1.3)
        if not sheet.free(start[None], radius + rule.gap).all():
            continue
        path = wander(rng, start, int(rng.integers(8)), own.width * 3)
        if route(sheet, path, own, skip=0.0):
            sheet.disc(start, radius)
            if radius > 12 and rng.random() < 0.5:
                sheet.disc(start, radius * 0.5, 0)


def parts(sheet: Sheet, rule: Rule, count: int) -> None:
    """Small parts: two or three pads, a trace between or away."""
    rng = sheet.rng
    for _ in range(count):
        heading = 2 * int(rng.integers(4))
        ahead, across = unit(heading), unit(heading + 2)
        length, width = rule.width * rng.uniform(1.6, 3.6, 2)
        apart = length + rule.gap * rng.uniform(1.2, 3)
        centre = rng.uniform(30, SIDE - 30, 2)
        for side in (0, 1):
            place = centre + ahead * apart * side
            corners = box_corners(place, ahead * length / 2, across * width / 2)
            if not sheet.is_free(corners, rule.gap):
                break
            sheet.polygon(corners)
            if rng.random() < 0.75:
                way = heading if side else heading + 4
                turned = way + int(rng.choice([0, 0, 2, -2]))
                skip = max(length, width) * 0.75 + rule.pitch + 4
                route(sheet, wander(rng, place, turned, rule.width * 2), rule, skip=skip)


def through_holes(sheet: Sheet, rule: Rule, radius: float) -> None:
    """Drilled pads in a grid. The drill is off by the same way on the whole board, as in life."""
    rng = sheet.rng
    columns, rows = (int(rng.integers(1, 6)), int(rng.integers(1, 4)))
    step = 2 * radius + rule.gap + rng.uniform(0.2, 2.0) * rule.pitch
    origin = rng.uniform(0, SIDE * 0.7, 2)
    hole = radius * rng.uniform(0.45, 0.78)
    drift = unit(rng.uniform(0, 8)) * (radius - hole) * rng.uniform(0, 0.75)
    stretch = rng.choice([0.0, 0.0, radius * 0.5])
    is_square = rng.random() < 0.15
    for column in range(columns):
        for row in range(rows):
            centre = origin + np.array([column * step, row * (step + 2 * stretch)])
            ring = centre + unit_ring() * (radius + stretch)
            if not sheet.free(np.vstack([ring, centre[None]]), rule.gap * 0.8).all():
                continue
            if is_square:
                sheet.polygon(box_corners(centre, np.array([radius, 0.0]), np.array([0.0, radius])))
            elif stretch:
                half = np.array([0.0, stretch])
                sheet.line(np.array([centre - half, centre + half]), 2 * radius)
            else:
                sheet.disc(centre, radius)
            if rng.random() < 0.6:
                path = wander(rng, centre, int(rng.integers(8)), rule.width * 3)
                route(sheet, path, rule, skip=radius + stretch + rule.width / 2 + rule.gap + 8)
            sheet.disc(centre + drift, hole, 0)


def area(sheet: Sheet, rule: Rule, size: Points) -> None:
    """A wide area of copper with chamfered corners, perhaps drilled."""
    rng = sheet.rng
    middle = rng.uniform(0, SIDE, 2)
    for shrink in (1.0, 0.75, 0.5, 0.3):
        half = size * shrink / 2
        corners = chamfered(middle, half, rng.uniform(0, 0.6, 4) * half.min() * (rng.random(4) < 0.6))
        if sheet.is_free(corners, rule.gap):
            break
    else:
        return
    sheet.polygon(corners)
    if rng.random() < 0.6:
        heading = 2 * int(rng.integers(4))
        own = Rule(width=rule.width * rng.uniform(0.8, 2), gap=rule.gap, via=rule.via)
        reach = float(abs(unit(heading)) @ half)
        route(sheet, wander(rng, middle, heading, own.width), own, skip=reach + own.width / 2 + rule.gap + 8)
    if rng.random() < 0.6:
        hole = rng.uniform(7, 24)
        spots = middle + rng.uniform(-0.75, 0.75, (int(rng.integers(1, 6)), 2)) * (half - hole).clip(0)
        for index, spot in enumerate(spots):
            if all(np.hypot(*(spot - other)) > 2 * hole + 12 for other in spots[:index]):
                sheet.disc(spot, hole, 0)


def plane(sheet: Sheet, rule: Rule) -> None:
    """Fills what is left of a region with copper, keeping clear of everything drawn."""
    rng = sheet.rng
    clear = round(rule.gap * rng.uniform(0.8, 1.4))
    region = np.zeros_like(sheet.copper)
    low = rng.uniform(-100, 350, 2)
    high = low + rng.uniform(200, 600, 2)
    corners = chamfered((low + high) / 2, (high - low) / 2, rng.uniform(0, 60, 4))
    cv2.fillPoly(region, [fixed_point(corners)], 1, cv2.LINE_8, SUBPIXEL)
    # Holes of drilled pads belong to the pad: close them before keeping clear, or copper would grow inside.
    outline, _ = cv2.findContours(sheet.copper, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    solid = np.zeros_like(region)
    cv2.drawContours(solid, outline, -1, 1, -1)
    away = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 3)
    region[away < clear] = 0
    # Slivers that a fabricator could not etch are dropped.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    sheet.add(np.asarray(cv2.morphologyEx(region, cv2.MORPH_OPEN, kernel), np.uint8))


def comb(sheet: Sheet, x: float, bar: float, step: float, gap: float) -> None:
    """Two bars whose teeth reach into each other."""
    y, is_left = -step * sheet.rng.uniform(0, 1), False
    middle, reach = x + bar / 2, bar * 0.22
    left: list[Points] = [np.array([x, -20.0])]
    right: list[Points] = [np.array([x + bar, -20.0])]
    while y < SIDE + step:
        edge = middle + (-reach if is_left else reach)
        for ends, side in ((left, -1), (right, 1)):
            # The gap runs along the step as well: one bar's edge turns earlier than the other's.
            turn = side * (gap if is_left else -gap) / 2
            ends += [np.array([edge + side * gap / 2, y + turn]), np.array([edge + side * gap / 2, y + step - turn])]
        y, is_left = y + step, not is_left
    for ends, outer in ((left, x), (right, x + bar)):
        sheet.polygon(np.array([*ends, np.array([outer, SIDE + 20.0])]))


def meander(sheet: Sheet, rule: Rule) -> None:
    """A trace made longer on purpose."""
    rng = sheet.rng
    origin = rng.uniform(20, SIDE - 160, 2)
    tall, turns = rng.uniform(30, 90), int(rng.integers(3, 9))
    step = rule.width + max(8.0, rule.gap)
    points = [(column * step, tall * ((column + edge) % 2)) for column in range(turns) for edge in (0, 1)]
    path = origin + np.array(points)
    if sheet.free(sample(path, 5.0)[0], rule.width / 2 + rule.gap).all():
        sheet.line(path, rule.width)


def via_field(sheet: Sheet, rule: Rule) -> None:
    """Vias: strewn, or in a grid."""
    rng = sheet.rng
    radius = max(4.5, rule.via * rng.uniform(0.8, 1.2))
    if rng.random() < 0.4:
        step = 2 * radius + rule.gap + rng.uniform(6, 40)
        origin = rng.uniform(0, SIDE, 2)
        grid = np.stack(np.meshgrid(np.arange(rng.integers(1, 7)), np.arange(rng.integers(2, 7))), -1).reshape(-1, 2)
        spots = origin + grid * step
    else:
        spots = rng.uniform(0, SIDE, (int(rng.integers(0, 20)), 2))
    for spot in spots:
        if sheet.free(spot[None], radius + rule.gap).all():
            sheet.disc(spot, radius)
            if radius > 9 and rng.random() < 0.3:
                sheet.disc(spot, radius * 0.45, 0)


def route(sheet: Sheet, path: Points, rule: Rule, skip: float) -> bool:
    """Draws a trace along `path` as far as there is room; where it has to stop, it ends in a via.

    The first `skip` pixels lie on copper of its own. Returns whether anything was drawn.
    """
    spots, run = sample(path, 5.0)
    good = sheet.free(spots, rule.width / 2 + rule.gap) | (run < skip)
    stop = len(spots) if good.all() else int(good.argmin())
    outside = (spots[:stop] < -8).any() or (spots[:stop] > SIDE + 8).any()
    if stop < len(spots) or not outside:
        stop -= int(rule.via // 5) + 1
    if stop < 4 or run[stop - 1] < skip + 12:
        return False
    end = run[stop - 1]
    kept = np.vstack([path[: 1 + int((path_lengths(path) < end).sum())], spots[stop - 1 : stop]])
    sheet.line(kept, rule.width)
    if sheet.rng.random() < 0.85:
        sheet.disc(spots[stop - 1], rule.via)
    return True
