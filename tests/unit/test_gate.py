from __future__ import annotations

import math
from typing import Any

import pytest

from inference.delivery.evaluation import Figures
from inference.domain.gate import Latency, Outcome, Verdict, verdict
from inference.domain.gate_file import Gate, parse_gate
from tests.support.evaluations import A_GATE, a_row, a_table

QUICK = Latency(engine="openvino", threads=1, median_ms=20.0)


def a_gate(old: str = "", new: str = "") -> Gate:
    assert old in A_GATE
    return parse_gate(A_GATE.replace(old, new) if old else A_GATE, name="a.toml")


def judged(candidate: tuple[Figures, ...] | None = None, champion: Any = "the same", **changes: Any) -> Verdict:
    mine = candidate or a_table()
    theirs = a_table() if champion == "the same" else champion
    return verdict(mine, theirs, **{"latency": QUICK, "gate": a_gate()} | changes)


def held_for(answer: Verdict) -> str:
    """The one reason of a hold."""
    assert answer.outcome is Outcome.HOLD
    [reason] = answer.reasons
    return reason


def test_a_candidate_that_meets_every_threshold_passes_and_says_with_which_figures() -> None:
    answer = judged()
    assert answer.outcome is Outcome.PASS
    assert "mAP50-95 0.7000 against the champion's 0.7000 (+0.0000), it may be 0.0100 worse" in answer.reasons
    assert "short: recall 0.9000, floor 0.7000" in answer.reasons
    assert {finding.check for finding in answer.findings} == {"labels", "map50_95", "recall", "ece", "latency"}


def test_too_few_labels_of_one_class_hold() -> None:
    table = a_table(a_row("open", labels=29), a_row("short", labels=30))
    assert held_for(judged(table)) == "open: 29 labels in the gate set, at least 30 are needed"


def test_a_class_without_any_label_holds() -> None:
    nothing = a_row("open", labels=0, ap50=math.nan, ap50_95=math.nan, recall=math.nan)
    answer = judged(a_table(nothing, a_row("short")))
    assert answer.outcome is Outcome.HOLD
    assert "open: 0 labels in the gate set, at least 30 are needed" in answer.reasons


@pytest.mark.parametrize(("figure", "outcome"), [(0.6901, Outcome.PASS), (0.6899, Outcome.HOLD)])
def test_accuracy_may_fall_by_so_much_and_no_more(figure: float, outcome: Outcome) -> None:
    answer = judged(a_table(a_row("open", ap50_95=figure), a_row("short", ap50_95=figure)))
    assert answer.outcome is outcome


def test_a_drop_is_named_with_both_figures_and_the_threshold() -> None:
    worse = a_table(a_row("open", ap50_95=0.5), a_row("short", ap50_95=0.5))
    words = "mAP50-95 0.5000 against the champion's 0.7000 (-0.2000), it may be 0.0100 worse"
    assert held_for(judged(worse)) == words


def test_a_gain_can_be_asked_for_instead() -> None:
    gate = a_gate("max_map50_95_drop = 0.01", "min_map50_95_gain = 0.02")
    assert held_for(judged(gate=gate)).endswith("(+0.0000), it must be 0.0200 better")
    better = a_table(a_row("open", ap50_95=0.73), a_row("short", ap50_95=0.73))
    assert judged(better, gate=gate).outcome is Outcome.PASS


def test_a_class_has_the_recall_floor_of_its_own_or_the_common_one() -> None:
    assert held_for(judged(a_table(a_row("open", recall=0.75), a_row("short", recall=0.75)))) == (
        "open: recall 0.7500, floor 0.8000"
    )


def test_poor_calibration_holds() -> None:
    table = a_table(a_row("open", ece=0.3), a_row("short", ece=0.3))
    assert held_for(judged(table)) == "calibration error 0.3000, at most 0.2000"


def test_a_figure_that_is_not_a_number_never_passes() -> None:
    for name in ("ap50_95", "recall", "ece"):
        table = (*a_table()[:2], a_row("all", labels=80, ece=math.nan)) if name == "ece" else None
        table = table or a_table(a_row("open", **{name: math.nan}), a_row("short"))
        assert judged(table).outcome is Outcome.HOLD, name


def test_a_slow_model_holds() -> None:
    slow = Latency(engine="openvino", threads=1, median_ms=100.1)
    assert held_for(judged(latency=slow)) == "latency 100.1 ms an image (openvino, threads: 1), at most 100.0 ms"


@pytest.mark.parametrize("changes", [{"engine": "onnxruntime"}, {"threads": 2}])
def test_latency_counts_only_where_the_budget_holds(changes: dict[str, Any]) -> None:
    elsewhere = Latency(**{"engine": "openvino", "threads": 1, "median_ms": 1.0} | changes)
    assert "was not measured where the budget holds" in held_for(judged(latency=elsewhere))


def test_a_class_that_only_the_champion_finds_holds() -> None:
    champion = a_table(a_row("open"), a_row("short"), a_row("spur"))
    assert held_for(judged(champion=champion)) == "the candidate does not know spur, which the champion finds"


def test_a_class_that_only_the_candidate_finds_is_left_out_of_the_comparison() -> None:
    candidate = a_table(a_row("open"), a_row("short"), a_row("spur", ap50_95=0.1))
    answer = judged(candidate)
    assert answer.outcome is Outcome.PASS
    assert any("mAP50-95 0.7000 against" in reason for reason in answer.reasons)


def test_a_class_that_the_gate_names_and_the_candidate_lacks_holds() -> None:
    table = a_table(a_row("open"))
    assert "the candidate does not know short, which the gate names" in held_for(
        judged(table, champion=a_table(a_row()))
    )


def test_without_a_champion_the_other_thresholds_hold() -> None:
    assert judged(champion=None).outcome is Outcome.PASS
    assert held_for(judged(a_table(a_row("open", recall=0.1), a_row("short")), champion=None)).startswith(
        "open: recall"
    )


def test_models_without_a_common_class_cannot_be_compared() -> None:
    gate = a_gate("min_recall_of = { short = 0.7 }\n")
    answer = judged(a_table(a_row("open")), champion=a_table(a_row("spur")), gate=gate)
    assert answer.outcome is Outcome.HOLD
    assert "mAP50-95: no class with labels that both models know" in answer.reasons


def test_every_failed_threshold_is_named() -> None:
    bad = a_table(a_row("open", ap50_95=0.1, recall=0.1, labels=3, ece=0.9), a_row("short", ece=0.9))
    answer = judged(bad, latency=Latency(engine="openvino", threads=1, median_ms=900))
    failed = [finding.check for finding in answer.findings if not finding.is_met]
    assert failed == ["labels", "map50_95", "recall", "ece", "latency"]
    assert len(answer.reasons) == 5


@pytest.mark.parametrize(("figure", "outcome"), [(0.6971, Outcome.PASS), (0.6969, Outcome.HOLD)])
def test_an_int8_graph_must_be_as_good_as_float_on_the_gate_set(figure: float, outcome: Outcome) -> None:
    answer = judged(int8_map50_95=figure)
    assert answer.outcome is outcome
    assert any(reason.startswith(f"int8: mAP50-95 {figure:.4f} against float32's 0.7000") for reason in answer.reasons)
