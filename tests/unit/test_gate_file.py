from __future__ import annotations

import pytest

from connectors.cameras.boards import CLASSES
from contracts.errors import Misconfigured
from inference.domain.gate_file import parse_gate
from inference.engines import KINDS
from inference.registry.gate_files import GATES
from tests.support.evaluations import A_GATE


def test_the_committed_gate_files_are_read() -> None:
    files = sorted(GATES.glob("*.toml"))
    assert [file.name for file in files] == ["pcb-defects.toml"]
    gate = parse_gate(files[0].read_text("utf-8"), name=files[0].name)
    assert gate.accuracy.recall_floor("spur") < gate.accuracy.recall_floor("open")
    assert gate.latency.engine in KINDS
    assert set(gate.accuracy.min_recall_of) <= set(CLASSES)


def test_every_key_lands_where_it_belongs() -> None:
    gate = parse_gate(A_GATE, name="a.toml")
    assert gate.min_labels_per_class == 30
    assert (gate.accuracy.min_gain, gate.accuracy.max_ece) == (-0.01, 0.2)
    assert (gate.accuracy.recall_floor("open"), gate.accuracy.recall_floor("short")) == (0.8, 0.7)
    assert (gate.latency.engine, gate.latency.threads, gate.latency.median_ms) == ("openvino", 1, 100.0)
    assert gate.watch.detections_per_frame == (1.0, 15.0)
    assert (gate.watch.frames, gate.watch.min_reviews, gate.watch.p99_ms) == (500, 30, 2000.0)


@pytest.mark.parametrize(
    "line",
    [line for line in A_GATE.splitlines() if "=" in line and "min_recall_of" not in line],
)
def test_a_missing_key_is_named(line: str) -> None:
    with pytest.raises(Misconfigured, match=line.split(" ", maxsplit=1)[0]):
        parse_gate(A_GATE.replace(line + "\n", ""), name="a.toml")


@pytest.mark.parametrize("section", ["[evidence]", "[accuracy]", "[latency]", "[watch]"])
def test_an_unknown_key_is_an_error(section: str) -> None:
    with pytest.raises(Misconfigured, match=rf"unknown keys: {section[1:-1]}\.max_ecee"):
        parse_gate(A_GATE.replace(section, f"{section}\nmax_ecee = 0.1"), name="a.toml")


def test_an_unknown_section_is_an_error() -> None:
    with pytest.raises(Misconfigured, match="unknown keys: watching"):
        parse_gate(A_GATE + "[watching]\nframes = 1\n", name="a.toml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_ece = 0.2", "max_ece = 1.2", "accuracy.max_ece"),
        ("max_ece = 0.2", "max_ece = nan", "accuracy.max_ece"),
        ("max_ece = 0.2", "max_ece = true", "accuracy.max_ece"),
        ("short = 0.7", 'short = "0.7"', "accuracy.min_recall_of.short"),
        ("threads = 1", "threads = 0", "latency.threads"),
        ("threads = 1", "threads = 1.0", "latency.threads"),
        ('engine = "openvino"', "engine = 1", "latency.engine"),
        ("min_labels_per_class = 30", "min_labels_per_class = 0", "evidence.min_labels_per_class"),
        ("[1, 15]", "[15, 1]", "watch.detections_per_frame"),
        ("[1, 15]", "[1]", "watch.detections_per_frame"),
        ("format = 1", "format = 2", "format 2"),
        ("[watch]", "[watch", "is not TOML"),
        ("[watch]", "[[watch]]", r"must hold a table \[watch\]"),
        ("max_map50_95_drop = 0.01", "max_map50_95_drop = 0.01\nmin_map50_95_gain = 0.01", "not both"),
    ],
)
def test_a_value_that_does_not_fit_is_named(old: str, new: str, words: str) -> None:
    assert old in A_GATE
    with pytest.raises(Misconfigured, match=words):
        parse_gate(A_GATE.replace(old, new), name="a.toml")
