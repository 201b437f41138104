from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Misconfigured
from contracts.validity import violation
from inference.domain.model_spec import parse
from tests.support.records import a_frame_record, a_prediction_record, now_ms

DEMO = Path(__file__).parents[2] / "inference/delivery/demo_model/model.json"


def a_document(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "format": 1,
        "name": "pcb",
        "file": "model.onnx",
        "classes": ["open", "short"],
        "input": {
            "name": "images", "width": 320, "height": 256, "dynamic": True, "layout": "NCHW", "colour": "RGB",
            "scale": 1 / 255, "pad": 114,
        },
        "output": {"name": "output0", "kind": "yolo-raw"},
        "postprocess": {"confidence": 0.25, "iou": 0.5, "max_detections": 300},
        "licence": "AGPL-3.0",
        "trained": {"by": "someone"},
    }  # fmt: skip
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = document
        for section in sections:
            place = place[section]
        place[key] = value
    return document


def test_every_field_is_read_and_further_keys_are_the_data_scientists_own() -> None:
    spec = parse(json.dumps(a_document()))
    assert (spec.name, spec.classes, spec.licence) == ("pcb", ("open", "short"), "AGPL-3.0")
    assert (spec.input.name, spec.input.width, spec.input.height, spec.input.dynamic) == ("images", 320, 256, True)
    assert (spec.input.layout, spec.input.colour, spec.input.pad) == ("NCHW", "RGB", 114)
    assert spec.input.scale == pytest.approx(1 / 255)
    assert (spec.output_name, spec.output) == ("output0", "yolo-raw")
    assert (spec.confidence, spec.iou, spec.max_detections) == (0.25, 0.5, 300)


def test_the_digests_of_golden_files_are_read_where_they_are_written_down() -> None:
    assert parse(json.dumps(a_document())).golden == ()
    stated = {"golden.json": "b" * 64, "00 a.jpg": "a" * 64}
    assert dict(parse(json.dumps(a_document(golden_sha256=stated))).golden) == stated


def test_the_demo_models_file_is_read() -> None:
    assert parse(DEMO.read_bytes()).classes


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 2}, "format 2"),
        ({"file": "../other.onnx"}, "file"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"classes": ["a", 3]}, "classes"),
        ({"classes": ["x" * 129]}, "classes"),
        ({"input": []}, "input"),
        ({"input__width": "320"}, "input.width"),
        ({"input__width": True}, "input.width"),
        ({"input__height": 0}, "input.height"),
        ({"input__dynamic": 1}, "input.dynamic"),
        ({"input__layout": "CHWN"}, "input.layout"),
        ({"input__colour": "grey"}, "input.colour"),
        ({"input__scale": 0}, "input.scale"),
        ({"input__pad": 256}, "input.pad"),
        ({"output__kind": "yolo-nms"}, "output.kind"),
        ({"postprocess__confidence": 0}, "postprocess.confidence"),
        ({"postprocess__iou": 1.5}, "postprocess.iou"),
        ({"postprocess__max_detections": 0}, "postprocess.max_detections"),
        ({"licence": ""}, "licence"),
        ({"golden_sha256": []}, "golden_sha256"),
        ({"golden_sha256": {"00.jpg": "short"}}, "golden_sha256"),
        ({"golden_sha256": {"../model.onnx": "a" * 64}}, "golden_sha256"),
        ({"golden_sha256": {"..": "a" * 64}}, "golden_sha256"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Misconfigured, match=named.replace(".", r"\.")):
        parse(json.dumps(a_document(**changes)))


@pytest.mark.parametrize(
    "name", ["", "x" * 129, "x" * 128, "a\x00b", "half \ud83d", "\udc00", "tab\t, line\n", "é", " "]
)
def test_class_names_are_those_that_a_prediction_may_carry(name: str) -> None:
    record = a_prediction_record(a_frame_record(), labels=["open", name])
    is_refused = violation("predictions", record, key=record["frame_id"], broker_time_ms=now_ms()) is not None
    assert is_refused == (name not in {"x" * 128, "tab\t, line\n", "é", " "})
    text = json.dumps(a_document(classes=["open", name]))
    if not is_refused:
        assert parse(text).classes == ("open", name)
        return
    with pytest.raises(Misconfigured, match=r"classes\[1\]") as caught:
        parse(text)
    assert str(caught.value).encode()  # it can be logged


@pytest.mark.parametrize("key", ["format", "name", "file", "classes", "input", "output", "postprocess", "licence"])
def test_a_missing_key_is_named(key: str) -> None:
    document = a_document()
    del document[key]
    with pytest.raises(Misconfigured, match=f"lacks {key}"):
        parse(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "3", "{"])
def test_what_is_no_object_is_misconfigured(text: str) -> None:
    with pytest.raises(Misconfigured):
        parse(text)
