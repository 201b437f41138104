"""The thresholds that a challenger must meet: `gates/<model>.toml`, the data scientist's. What is done with them is not.

    format = 1

    [evidence]
    min_labels_per_class = 30         true boxes of each class in the gate set; fewer: hold

    [accuracy]
    max_map50_95_drop = 0.005         how much worse than the champion it may be; or, instead of it:
    min_map50_95_gain = 0.01          how much better it must be
    min_recall = 0.8                  of every class, at the model's own confidence and IoU 0.5
    min_recall_of = { spur = 0.75 }   of a class that has a floor of its own
    max_ece = 0.15                    expected calibration error, the mean over the classes

    [latency]
    engine = "openvino"               what the budget is stated for: the gate measures with it
    threads = 1
    median_ms = 150                   of one image, decoding left out

    [watch]                           after the promotion
    frames = 500                      fewer seen: the window is extended
    minutes = 10
    max_failed_share = 0.01           of frames, failed or undecodable
    p99_ms = 2000                     from capture to prediction
    min_agreement = 0.7               with the previous champion, share of boxes
    detections_per_frame = [1, 15]    the mean must lie in here
    min_precision = 0.8               by reviews, once there are min_reviews
    min_reviews = 30

Every key but min_recall_of is required, and one of the two about mAP; a key that is not here is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from contracts.errors import Misconfigured

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What the platform's own evaluation must show."""

    min_gain: float  # mAP50-95 above the champion's; negative: so much worse it may be
    min_recall: float
    min_recall_of: Mapping[str, float]
    max_ece: float

    def recall_floor(self, label: str) -> float:
        """The least recall of a class."""
        return self.min_recall_of.get(label, self.min_recall)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyBudget:
    """How long one image may take, and where."""

    engine: str
    threads: int
    median_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What must hold after the promotion; otherwise the previous champion comes back."""

    frames: int
    minutes: float
    max_failed_share: float
    p99_ms: float
    min_agreement: float
    detections_per_frame: tuple[float, float]
    min_precision: float
    min_reviews: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One model's thresholds."""

    min_labels_per_class: int
    accuracy: Accuracy
    latency: LatencyBudget
    watch: Watch


def parse_gate(text: str, *, name: str) -> Gate:
    """The thresholds in a gate file.

    Args:
        text: TOML.
        name: of the file, for the message.

    Raises:
        Misconfigured: a key is missing, unknown or out of its range; the message names it.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{name} is not TOML: {error}") from error
    root = _Section(document, "", name)
    if (given := root.whole("format", 0, 1_000)) != FORMAT:
        raise Misconfigured(f"{name} has format {given}; this version reads format {FORMAT}")
    evidence = root.section("evidence")
    gate = Gate(
        min_labels_per_class=evidence.whole("min_labels_per_class", 1, 1_000_000),
        accuracy=_accuracy(root.section("accuracy")),
        latency=_latency(root.section("latency")),
        watch=_watch(root.section("watch")),
    )
    evidence.refuse_the_rest()
    root.refuse_the_rest()
    return gate


def _accuracy(section: _Section) -> Accuracy:
    if section.has("max_map50_95_drop") == section.has("min_map50_95_gain"):
        raise Misconfigured(
            f"{section.file} needs one of accuracy.max_map50_95_drop and accuracy.min_map50_95_gain, not both or none"
        )
    is_drop = section.has("max_map50_95_drop")
    gain = -section.number("max_map50_95_drop", 0, 1) if is_drop else section.number("min_map50_95_gain", 0, 1)
    own = section.section("min_recall_of", is_optional=True)
    accuracy = Accuracy(
        min_gain=gain,
        min_recall=section.number("min_recall", 0, 1),
        min_recall_of=MappingProxyType({label: own.number(label, 0, 1) for label in own.names()}),
        max_ece=section.number("max_ece", 0, 1),
    )
    section.refuse_the_rest()
    return accuracy


def _latency(section: _Section) -> LatencyBudget:
    budget = LatencyBudget(
        engine=section.text("engine"),
        threads=section.whole("threads", 1, 256),
        median_ms=section.number("median_ms", 0.001, 600_000),
    )
    section.refuse_the_rest()
    return budget


def _watch(section: _Section) -> Watch:
    watch = Watch(
        frames=section.whole("frames", 1, 100_000_000),
        minutes=section.number("minutes", 0, 100_000),
        max_failed_share=section.number("max_failed_share", 0, 1),
        p99_ms=section.number("p99_ms", 0.001, 3_600_000),
        min_agreement=section.number("min_agreement", 0, 1),
        detections_per_frame=section.band("detections_per_frame"),
        min_precision=section.number("min_precision", 0, 1),
        min_reviews=section.whole("min_reviews", 1, 1_000_000),
    )
    section.refuse_the_rest()
    return watch


class _Section:
    """Reads one table of the file, each key once, and says which is wrong."""

    def __init__(self, table: Any, path: str, file: str) -> None:
        if not isinstance(table, dict):
            raise Misconfigured(f"{file} must hold a table [{path.rstrip('.')}]")
        self.file = file
        self._table = dict(table)
        self._path = path

    def names(self) -> list[str]:
        return sorted(self._table)

    def has(self, key: str) -> bool:
        return key in self._table

    def section(self, key: str, *, is_optional: bool = False) -> _Section:
        table = self._table.pop(key, {}) if is_optional else self._take(key)
        return _Section(table, f"{self._path}{key}.", self.file)

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise Misconfigured(f"{self._path}{key} in {self.file} must be a text, not {value!r}")
        return value

    def whole(self, key: str, least: int, most: int) -> int:
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Misconfigured(f"{self._path}{key} in {self.file} must be a whole number of {least} to {most}")
        return value

    def number(self, key: str, least: float, most: float) -> float:
        return self._checked(key, self._take(key), least, most)

    def band(self, key: str) -> tuple[float, float]:
        value = self._take(key)
        if not isinstance(value, list) or len(value) != 2:
            raise Misconfigured(f"{self._path}{key} in {self.file} must be [least, most]")
        low, high = (self._checked(key, one, 0, 1_000_000) for one in value)
        if low > high:
            raise Misconfigured(f"{self._path}{key} in {self.file} must be [least, most], not [{low}, {high}]")
        return low, high

    def refuse_the_rest(self) -> None:
        """Every key that nobody asked for is a stranger: a threshold with a typo would never be looked at."""
        if self._table:
            strangers = ", ".join(f"{self._path}{key}" for key in sorted(self._table))
            raise Misconfigured(f"{self.file} has unknown keys: {strangers}; see inference/domain/gate_file.py")

    def _take(self, key: str) -> Any:
        if key not in self._table:
            raise Misconfigured(f"{self.file} lacks {self._path}{key}; see inference/domain/gate_file.py")
        return self._table.pop(key)

    def _checked(self, key: str, value: Any, least: float, most: float) -> float:
        # TOML has nan and inf; neither lies between two numbers.
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise Misconfigured(
                f"{self._path}{key} in {self.file} must be a number of {least} to {most}, not {value!r}"
            )
        return float(value)
