"""How one model wants its input and what it answers: the `model.json` beside its `model.onnx`.

    {
      "format": 1,
      "name": "pcb-defects",
      "file": "model.onnx",
      "classes": ["open", "short", "mousebite", "spur", "copper", "pin-hole"],
      "input": {"name": "images", "width": 320, "height": 320, "dynamic": true, "layout": "NCHW", "colour": "RGB",
                "scale": 0.00392156862745098, "pad": 114},
      "output": {"name": "output0", "kind": "yolo-raw"},
      "postprocess": {"confidence": 0.25, "iou": 0.5, "max_detections": 300},
      "licence": "AGPL-3.0-only",
      "golden_sha256": {"golden.json": "4fe5…", "00.jpg": "9c1b…"},
      "metadata": {"anything": "a data scientist wants to keep"}
    }

Every pixel is multiplied by `scale` before the model sees it. `dynamic` says that the exported graph takes other
sizes (multiples of 32) and any batch. `golden_sha256` is written when a version is registered: which files under
golden/ belong to it. What this module reads is strict; further keys are the data scientist's own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from contracts.errors import Misconfigured
from contracts.identifiers import SHA256
from contracts.validity import UNSTORABLE

FORMAT: Final = 1
FILE_NAME: Final = "model.json"
GOLDEN_KEY: Final = "golden_sha256"
MODEL_FILE_NAME: Final = "model.onnx"  # the one name it may have: its digest is the version's identity

_FILE_NAME: Final = re.compile(r"(?!\.{1,2}$)[^/\\\0]{1,255}")

Layout = Literal["NCHW", "NHWC"]
Colour = Literal["RGB", "BGR"]
Output = Literal["yolo-raw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """What the model takes: float32 of one size, made from RGB bytes."""

    name: str  # of the graph's input
    width: int  # pixels
    height: int  # pixels
    dynamic: bool  # other sizes and any batch fit too
    layout: Layout
    colour: Colour
    scale: float  # each byte is multiplied by it
    pad: int  # grey value of the border, 0..255


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model's processing, before and after the graph."""

    name: str
    classes: tuple[str, ...]
    input: ModelInput
    output_name: str  # of the graph's output
    output: Output  # yolo-raw: [batch, 4 + classes, anchors], see nms
    confidence: float  # the least confidence of a detection
    iou: float  # boxes of one class that overlap more are one
    max_detections: int
    licence: str  # SPDX
    golden: tuple[tuple[str, str], ...] = ()  # file under golden/ and its sha256; none: it was never written down


def parse(text: str | bytes) -> ModelSpec:
    """The specification in a model.json.

    Raises:
        Misconfigured: it is no such file; the message names the key and what it should hold.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Misconfigured(f"{FILE_NAME} is not JSON ({error}); export the model again") from error
    root = _Reader(document, "")
    if (given := root.value("format", int)) != FORMAT:
        raise Misconfigured(f"{FILE_NAME} has format {given}; this version reads format {FORMAT}: export it again")
    if (file := root.text("file")) != MODEL_FILE_NAME:
        raise Misconfigured(f"file in {FILE_NAME} is {file!r}; name the model {MODEL_FILE_NAME}")
    inside = _Reader(root.value("input", dict), "input.")
    output = _Reader(root.value("output", dict), "output.")
    after = _Reader(root.value("postprocess", dict), "postprocess.")
    return ModelSpec(
        name=root.text("name"),
        classes=_classes(root),
        input=ModelInput(
            name=inside.text("name"),
            width=inside.whole("width", 32, 4096),
            height=inside.whole("height", 32, 4096),
            dynamic=inside.value("dynamic", bool),
            layout=inside.one_of("layout", Layout),
            colour=inside.one_of("colour", Colour),
            scale=inside.number("scale", 0.0, 1.0),
            pad=inside.whole("pad", 0, 255),
        ),
        output_name=output.text("name"),
        output=output.one_of("kind", Output),
        confidence=after.number("confidence", 0.0, 1.0),
        iou=after.number("iou", 0.0, 1.0),
        max_detections=after.whole("max_detections", 1, 10_000),
        licence=root.text("licence"),
        golden=_golden(document),
    )


def _golden(document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    stated = document.get(GOLDEN_KEY, {})
    if not isinstance(stated, dict) or not all(
        _FILE_NAME.fullmatch(name) and isinstance(digest, str) and SHA256.fullmatch(digest)
        for name, digest in stated.items()
    ):
        raise Misconfigured(f"{GOLDEN_KEY} in {FILE_NAME} must name files of golden/ with their sha256; leave it out")
    return tuple(sorted(stated.items()))


def _classes(root: _Reader) -> tuple[str, ...]:
    """The class names, bound by the rule for a prediction's labels: a detection of another would be refused."""
    classes = root.value("classes", list)
    if not classes or len(set(map(str, classes))) != len(classes):
        raise Misconfigured(f"classes in {FILE_NAME} must be a list of different names")
    for index, name in enumerate(classes):
        if not isinstance(name, str) or not 1 <= len(name) <= 128 or UNSTORABLE.search(name):
            raise Misconfigured(
                f"classes[{index}] in {FILE_NAME} is {str(name)[:80]!r}: give it a name of 1 to 128 characters, without "
                "NUL or half a surrogate pair"
            )
    return tuple(classes)


class _Reader:
    """Reads one JSON object and says which key is wrong."""

    def __init__(self, document: Any, path: str) -> None:
        if not isinstance(document, dict):
            raise Misconfigured(f"{FILE_NAME} must hold an object{' at ' + path.rstrip('.') if path else ''}")
        self._document = document
        self._path = path

    def value(self, key: str, kind: type) -> Any:
        """The key's value, which must be of that JSON type."""
        if key not in self._document:
            raise Misconfigured(f"{FILE_NAME} lacks {self._path}{key}; see inference/domain/model_spec.py")
        value = self._document[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Misconfigured(f"{self._path}{key} in {FILE_NAME} must be of type {kind.__name__}, not {value!r}")
        return value

    def text(self, key: str) -> str:
        value: str = self.value(key, str)
        if not 1 <= len(value) <= 128:
            raise Misconfigured(f"{self._path}{key} in {FILE_NAME} must have 1 to 128 characters")
        return value

    def whole(self, key: str, least: int, most: int) -> int:
        value: int = self.value(key, int)
        if not least <= value <= most:
            raise Misconfigured(f"{self._path}{key} in {FILE_NAME} must lie in {least} to {most}, not {value}")
        return value

    def number(self, key: str, above: float, most: float) -> float:
        value = self.value(key, object)
        if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= most:
            raise Misconfigured(f"{self._path}{key} in {FILE_NAME} must be above {above} and at most {most}")
        return float(value)

    def one_of(self, key: str, choices: Any) -> Any:
        value = self.value(key, str)
        if value not in get_args(choices):
            raise Misconfigured(f"{self._path}{key} in {FILE_NAME} must be one of {get_args(choices)}, not {value!r}")
        return value
