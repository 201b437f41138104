"""avsc ↔ records ↔ pandera, field by field, types and nullability. The tables join in tests/component/persistence."""

from __future__ import annotations

import dataclasses
import json
import typing
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import pandera.pandas as pa
import pytest

from contracts import schemas
from contracts.checks import Detections, Frames, Predictions, Sessions, dataframe
from contracts.records import RECORD_TYPES

MODELS = {"frames": Frames, "predictions": Predictions, "sessions": Sessions}
VECTORS = json.loads((Path(schemas.__file__).parent / "vectors" / "validity.json").read_text("utf-8"))

PYTHON_TYPES = {"string": str, "int": int, "long": int, "float": float, "bytes": bytes, "timestamp-millis": datetime}
COLUMN_TYPES = {
    "string": "str",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "timestamp-millis": "datetime64[ms, UTC]",
    "array": "object",
}
AVRO_ONLY = {"image"}

# What a row without its image, its key and its broker's time cannot tell.
NOT_IN_A_ROW = {
    "key_mismatch",
    "captured_at_out_of_window",
    "image_missing",
    "size_mismatch",
    "too_large",
    "sha256_mismatch",
}


def avro_fields(topic: str) -> dict[str, tuple[Any, bool]]:
    """Field → (type without null, whether null is allowed)."""
    found = {}
    for field in schemas.latest(topic)["fields"]:
        declared = field["type"]
        is_nullable = isinstance(declared, list)
        if is_nullable:
            assert declared[0] == "null"
            assert field["default"] is None
            [declared] = declared[1:]
        if isinstance(declared, dict) and "logicalType" in declared:
            assert declared["type"] == "long"
            declared = declared["logicalType"]
        found[field["name"]] = (declared, is_nullable)
    return found


def python_type(declared: Any) -> Any:
    if isinstance(declared, dict):
        assert declared["type"] == "array"
        item = PYTHON_TYPES[declared["items"]]
        return list[item]
    return PYTHON_TYPES[declared]


def without_none(annotation: Any) -> tuple[Any, bool]:
    if isinstance(annotation, UnionType):
        [rest] = [part for part in typing.get_args(annotation) if part is not NoneType]
        return rest, True
    return annotation, False


@pytest.mark.parametrize("topic", RECORD_TYPES)
def test_records_have_the_fields_of_the_schema(topic: str) -> None:
    record = RECORD_TYPES[topic]
    hints = typing.get_type_hints(record)
    fields = {field.name: without_none(hints[field.name]) for field in dataclasses.fields(record)}
    assert fields == {name: (python_type(kind), is_null) for name, (kind, is_null) in avro_fields(topic).items()}
    assert list(fields) == list(avro_fields(topic))
    optional = {field.name for field in dataclasses.fields(record) if field.default is None}
    assert optional == {name for name, (_, is_nullable) in avro_fields(topic).items() if is_nullable}
    times = {name for name, (kind, _) in avro_fields(topic).items() if kind == "timestamp-millis"}
    assert times == record.TIMES


@pytest.mark.parametrize("topic", MODELS)
def test_dataframes_have_the_columns_of_the_schema(topic: str) -> None:
    columns = MODELS[topic].to_schema().columns
    expected = {
        name: (COLUMN_TYPES["array" if isinstance(kind, dict) else kind], is_nullable)
        for name, (kind, is_nullable) in avro_fields(topic).items()
        if name not in AVRO_ONLY
    }
    found = {name: (_dtype(column), column.nullable) for name, column in columns.items()}
    assert found == expected
    assert list(found) == list(expected)


def _dtype(column: Any) -> str:
    name = str(column.dtype)
    return "str" if name in {"str", "string[pyarrow]", "string[python]"} else name


@pytest.mark.parametrize("model", [*MODELS.values(), Detections])
def test_dataframe_models_are_strict_and_never_coerce(model: type[pa.DataFrameModel]) -> None:
    schema = model.to_schema()
    assert schema.strict is True
    assert schema.coerce is False
    assert not any(column.coerce for column in schema.columns.values())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['contract']}: {vector['name']}")
def test_dataframes_refuse_what_the_validity_rule_refuses(vector: dict[str, Any]) -> None:
    topic, outcome = vector["contract"], vector["outcome"]
    record = {name: _value(value) for name, value in vector["record"].items()}
    if outcome == "ok" or outcome in NOT_IN_A_ROW:
        checked = MODELS[topic].validate(dataframe(topic, [record]), lazy=True)
        assert len(checked) == 1
    else:
        with pytest.raises((pa.errors.SchemaErrors, ValueError)):
            MODELS[topic].validate(dataframe(topic, [record]), lazy=True)


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["float"]) if "float" in value else b""
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value


@pytest.mark.parametrize("topic", MODELS)
def test_a_frame_twice_in_a_dataframe_is_refused(topic: str) -> None:
    [record, *_] = [vector["record"] for vector in VECTORS if vector["contract"] == topic]
    with pytest.raises(pa.errors.SchemaErrors, match=r"(?i)unique|duplicate"):
        MODELS[topic].validate(dataframe(topic, [record, record]), lazy=True)


@pytest.mark.parametrize("topic", MODELS)
def test_a_dataframe_of_another_type_or_with_another_column_is_refused(topic: str) -> None:
    [record, *_] = [vector["record"] for vector in VECTORS if vector["contract"] == topic]
    right = dataframe(topic, [record])
    assert MODELS[topic].validate(right, lazy=True) is not None
    assert len(MODELS[topic].validate(right.iloc[:0], lazy=True)) == 0
    for wrong in (right.assign(extra=1), right.drop(columns="camera_id"), right.assign(camera_id=1)):
        with pytest.raises(pa.errors.SchemaErrors):
            MODELS[topic].validate(wrong, lazy=True)
