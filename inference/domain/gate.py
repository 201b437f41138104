"""May this challenger be put before a person? Decided from figures alone: no model, no store, no clock.

    table of the candidate, table of the champion, latency, gate ──► verdict: pass | hold, each reason with its figures

Both tables come from the platform's own evaluation on the same images. Without a champion the comparison is left out;
every other threshold holds. `refused` is not decided here: it is the answer to evidence that cannot be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from inference.domain.gate_file import Gate, LatencyBudget

ALL: Final = "all"  # the label of the row over all classes
MOST_INT8_DROP: Final = 0.003  # of mAP below float32: the platform's own, no threshold of a gate file


class Figures(Protocol):
    """One row of an evaluation table. A figure that nothing can be said about is not a number."""

    @property
    def label(self) -> str:
        """A class, or all."""
        ...

    @property
    def labels(self) -> int:
        """True boxes."""
        ...

    @property
    def ap50_95(self) -> float:
        """Average precision, the mean over IoU 0.50 to 0.95."""
        ...

    @property
    def recall(self) -> float:
        """At the model's own confidence and IoU 0.5."""
        ...

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        ...


class Outcome(StrEnum):
    """What the gate says."""

    PASS = "pass"  # noqa: S105 - no password
    HOLD = "hold"
    REFUSED = "refused"  # the evidence is not to be trusted: no verdict on the model itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long one image took."""

    engine: str
    threads: int
    median_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One threshold and what was found."""

    check: str  # labels, classes, map50_95, recall, ece, latency, int8
    is_met: bool
    words: str  # names the figure and the threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome and all that it rests on."""

    outcome: Outcome
    findings: tuple[Finding, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does not pass; of a pass, everything that was met."""
        chosen = [one for one in self.findings if not one.is_met] or self.findings
        return tuple(one.words for one in chosen)


def verdict(
    candidate: Sequence[Figures],
    champion: Sequence[Figures] | None,
    *,
    latency: Latency,
    gate: Gate,
    int8_map50_95: float | None = None,
) -> Verdict:
    """Compares a candidate's figures with the champion's and with the gate's thresholds.

    Args:
        candidate: one row per class and one for all, on the gate set.
        champion: the same of the present champion; None where there is none yet.
        latency: of the candidate, with the engine and threads that the gate names.
        gate: the thresholds.
        int8_map50_95: of the candidate's int8 graph; None where it has none.
    """
    mine, theirs = _by_label(candidate), _by_label(champion or ())
    findings = (
        *_labels(mine, gate),
        *_classes(mine, theirs),
        *_accuracy(mine, theirs, gate),
        *_recall(mine, gate),
        _calibration(candidate, gate),
        _latency(latency, gate.latency),
        *_int8(candidate, int8_map50_95),
    )
    is_met = all(one.is_met for one in findings)
    return Verdict(outcome=Outcome.PASS if is_met else Outcome.HOLD, findings=findings)


def _by_label(table: Sequence[Figures]) -> dict[str, Figures]:
    return {row.label: row for row in table if row.label != ALL}


def _labels(mine: Mapping[str, Figures], gate: Gate) -> Iterator[Finding]:
    least = gate.min_labels_per_class
    for label, row in mine.items():
        yield Finding(
            check="labels",
            is_met=row.labels >= least,
            words=f"{label}: {row.labels} labels in the gate set, at least {least} are needed",
        )


def _classes(mine: Mapping[str, Figures], theirs: Mapping[str, Figures]) -> Iterator[Finding]:
    for label in theirs:
        if label not in mine:
            yield Finding(
                check="classes", is_met=False, words=f"the candidate does not know {label}, which the champion finds"
            )


def _accuracy(mine: Mapping[str, Figures], theirs: Mapping[str, Figures], gate: Gate) -> Iterator[Finding]:
    """Over the classes of the champion that have labels: a class that only one of them knows compares nothing."""
    shared = [label for label, row in theirs.items() if label in mine and row.labels]
    if not theirs:
        return
    if not shared:
        yield Finding(check="map50_95", is_met=False, words="mAP50-95: no class with labels that both models know")
        return
    new, old = (math.fsum(table[label].ap50_95 for label in shared) / len(shared) for table in (mine, theirs))
    least = gate.accuracy.min_gain
    rule = f"it may be {-least:.4f} worse" if least <= 0 else f"it must be {least:.4f} better"
    yield Finding(
        check="map50_95",
        is_met=new - old >= least,  # not a number is not met
        words=f"mAP50-95 {new:.4f} against the champion's {old:.4f} ({new - old:+.4f}), {rule}",
    )


def _recall(mine: Mapping[str, Figures], gate: Gate) -> Iterator[Finding]:
    for label, row in mine.items():
        floor = gate.accuracy.recall_floor(label)
        yield Finding(
            check="recall", is_met=row.recall >= floor, words=f"{label}: recall {row.recall:.4f}, floor {floor:.4f}"
        )
    for label in gate.accuracy.min_recall_of:
        if label not in mine:
            yield Finding(
                check="classes", is_met=False, words=f"the candidate does not know {label}, which the gate names"
            )


def _calibration(candidate: Sequence[Figures], gate: Gate) -> Finding:
    [overall] = [row for row in candidate if row.label == ALL]
    return Finding(
        check="ece",
        is_met=overall.ece <= gate.accuracy.max_ece,
        words=f"calibration error {overall.ece:.4f}, at most {gate.accuracy.max_ece:.4f}",
    )


def _int8(candidate: Sequence[Figures], int8: float | None) -> Iterator[Finding]:
    if int8 is None:
        return
    [overall] = [row for row in candidate if row.label == ALL]
    yield Finding(
        check="int8",
        is_met=overall.ap50_95 - int8 <= MOST_INT8_DROP,
        words=f"int8: mAP50-95 {int8:.4f} against float32's {overall.ap50_95:.4f}, it may be {MOST_INT8_DROP:.4f} worse",
    )


def _latency(latency: Latency, budget: LatencyBudget) -> Finding:
    measured = f"{latency.median_ms:.1f} ms an image ({latency.engine}, threads: {latency.threads})"
    if (latency.engine, latency.threads) != (budget.engine, budget.threads):
        where = f"{budget.engine}, threads: {budget.threads}"
        return Finding(
            check="latency", is_met=False, words=f"latency {measured} was not measured where the budget holds ({where})"
        )
    return Finding(
        check="latency",
        is_met=latency.median_ms <= budget.median_ms,
        words=f"latency {measured}, at most {budget.median_ms:.1f} ms",
    )
