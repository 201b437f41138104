from __future__ import annotations

import copy
from datetime import UTC, datetime

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.serialisation import Codec
from contracts import schemas
from contracts.errors import Rejected
from contracts.identifiers import from_milliseconds, new_id
from contracts.records import Frame, Prediction, Session
from contracts.schemas import Schema

NOW = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)


class FakeRegistry:
    """Ids 1, 2, 3 for the topics' newest schemas, and what a test adds."""

    def __init__(self, **others: Schema) -> None:
        self.ids = {"frames": 1, "predictions": 2, "sessions": 3}
        self.schemas = {number: schemas.latest(topic) for topic, number in self.ids.items()}
        self.asked: list[int] = []

    def id_of(self, topic: str) -> int:
        return self.ids[topic]

    def schema_by_id(self, schema_id: int) -> Schema:
        self.asked.append(schema_id)
        if schema_id not in self.schemas:
            raise Rejected("not known", code="unknown_schema")
        return self.schemas[schema_id]


def a_codec(registry: FakeRegistry | None = None) -> Codec:
    return Codec(registry or FakeRegistry())


def a_frame(**changes) -> Frame:
    values = {
        "frame_id": new_id(NOW),
        "camera_id": "c1",
        "session_id": new_id(NOW),
        "sequence": 2**40,
        "captured_at": NOW,
        "source_time": None,
        "width": 640,
        "height": 480,
        "encoding": "jpeg",
        "size_bytes": 3,
        "sha256": "0" * 64,
        "object_key": "date=2026-01-31/camera=c1/x.jpg",
        "traceparent": None,
        "image": b"\0\xff\xd8",
    }
    return Frame(**(values | changes))


def a_prediction(**changes) -> Prediction:
    values = {
        "frame_id": new_id(NOW),
        "camera_id": "c1",
        "captured_at": NOW,
        "model_name": "m",
        "model_version": "1",
        "model_digest": "0" * 64,
        "role": "champion",
        "engine": "fake",
        "inferred_at": NOW,
        "latency_ms": 1.5,
        "status": "ok",
        "labels": ["öpen", "spur"],
        "confidences": [0.5, 0.25],
        "boxes": [1.0, 2.0, 3.0, 4.0] * 2,
    }
    return Prediction(**(values | changes))


def a_session() -> Session:
    return Session(
        session_id=new_id(NOW),
        camera_id="c1",
        source="simulator:",
        started_at=NOW,
        last_acknowledged=-1,
        captured=0,
        rejected=0,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("frames", a_frame()),
        ("frames", a_frame(source_time=NOW, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")),
        ("frames", a_frame(image=None)),
        ("predictions", a_prediction()),
        ("predictions", a_prediction(labels=[], confidences=[], boxes=[])),
        ("sessions", a_session()),
    ],
)
def test_what_is_written_is_what_is_read(topic, value):
    codec = a_codec()
    payload = codec.encode(topic, value.to_record())
    assert payload[:5] == bytes([0, 0, 0, 0, FakeRegistry().ids[topic]])
    assert type(value).from_record(codec.decode(topic, payload)) == value


def test_times_are_milliseconds_even_where_python_has_no_such_date():
    record = a_frame().to_record() | {"captured_at": 2**60}
    codec = a_codec()
    assert codec.decode("frames", codec.encode("frames", record))["captured_at"] == 2**60
    assert from_milliseconds(a_frame().to_record()["captured_at"]) == NOW


def test_the_registry_is_asked_once_per_schema():
    registry = FakeRegistry()
    codec = a_codec(registry)
    payload = codec.encode("frames", a_frame().to_record())
    for _ in range(5):
        codec.decode("frames", payload)
    assert registry.asked == [1]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, "not_a_record"),
        (b"", "undecodable"),
        (b"\0\0\0\0", "undecodable"),
        (b"\x01\0\0\0\x01garbage", "undecodable"),
        (b'{"json": true}', "undecodable"),
        (b"\0\0\0\0\x01", "undecodable"),
        (b"\0\0\0\0\x01" + b"\xff" * 100, "undecodable"),
        (b"\0\0\0\0\x63" + b"whatever", "unknown_schema"),
    ],
)
def test_garbage_is_rejected_with_a_code(payload, code):
    with pytest.raises(Rejected) as caught:
        a_codec().decode("frames", payload)
    assert caught.value.code == code


def test_another_topics_record_is_rejected():
    codec = a_codec()
    with pytest.raises(Rejected, match="not a version of frames") as caught:
        codec.decode("frames", codec.encode("sessions", a_session().to_record()))
    assert caught.value.code == "not_a_record"


@pytest.mark.parametrize(
    "registered",
    [
        {"type": "object"},
        {"$schema": "s", "type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "record", "namespace": "sightline", "name": "Frame", "fields": [{"name": "x", "type": "no"}]},
        {},
        None,
        7,
    ],
)
def test_a_schema_that_is_not_avro_makes_a_bad_record(registered):
    registry = FakeRegistry()
    registry.schemas[9] = registered
    with pytest.raises(Rejected) as caught:
        a_codec(registry).decode("frames", b"\0\0\0\0\x09whatever")
    assert caught.value.code == "unknown_schema"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_rejected(body):
    outcome = what_becomes_of("frames", b"\0\0\0\0\x01" + body)
    assert outcome == "undecodable" or set(outcome) == set(a_frame().to_record())


@given(st.data())
def test_any_damage_to_a_record_is_a_record_or_rejected(data):
    codec = a_codec()
    payload = bytearray(codec.encode("predictions", a_prediction().to_record()))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(5, len(payload) - 1))] = data.draw(st.integers(0, 255))
    outcome = what_becomes_of("predictions", bytes(payload))
    assert outcome == "undecodable" or set(outcome) == set(a_prediction().to_record())


def what_becomes_of(topic: str, payload: bytes) -> dict | str:
    """The record, or the code of its rejection; any other error is raised."""
    try:
        return a_codec().decode(topic, payload)
    except Rejected as error:
        return error.code


@pytest.mark.parametrize("width", [2**31, -(2**31) - 1, 2**40])
def test_an_int_that_the_java_side_cannot_read_is_rejected_here_too(width):
    schema = schemas.without_logical_types(schemas.latest("frames"))
    schema = {**schema, "fields": [{**f, "type": "long"} if f["name"] == "width" else f for f in schema["fields"]]}
    codec = a_codec()
    from io import BytesIO

    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), a_frame().to_record() | {"width": width})
    with pytest.raises(Rejected, match="width") as caught:
        codec.decode("frames", b"\0\0\0\0\x01" + body.getvalue())
    assert caught.value.code == "undecodable"


@pytest.mark.parametrize(
    "changes",
    [{"sequence": "three"}, {"width": 2**31}, {"image": "text"}, {"camera_id": None}, {"camera_id": "\ud800"}],
)
def test_a_record_that_does_not_fit_its_schema_is_rejected(changes):
    with pytest.raises(Rejected) as caught:
        a_codec().encode("frames", a_frame().to_record() | changes)
    assert caught.value.code == "unencodable"


def test_a_value_nested_too_deep_to_be_written_down_is_rejected():
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(Rejected) as caught:
        a_codec().encode("frames", a_frame().to_record() | {"source_time": nested})
    assert caught.value.code == "unencodable"


def test_a_record_without_a_required_field_is_rejected():
    record = a_frame().to_record()
    del record["camera_id"]
    with pytest.raises(Rejected):
        a_codec().encode("frames", record)


def test_a_newer_producers_record_is_read_with_our_schema():
    newer = copy.deepcopy(schemas.latest("sessions"))
    newer["fields"].append({"name": "operator", "type": ["null", "string"], "default": None})
    registry = FakeRegistry()
    registry.schemas[9] = newer
    record = a_session().to_record()
    from io import BytesIO

    body = BytesIO()
    fastavro.schemaless_writer(
        body, fastavro.parse_schema(schemas.without_logical_types(newer)), record | {"operator": "ann"}
    )
    assert a_codec(registry).decode("sessions", b"\0\0\0\0\x09" + body.getvalue()) == record


def test_an_older_producers_record_gets_the_defaults_of_new_fields(monkeypatch):
    older = schemas.latest("sessions")
    newer = copy.deepcopy(older)
    newer["fields"].append({"name": "operator", "type": ["null", "string"], "default": None})
    payload = a_codec().encode("sessions", a_session().to_record())
    monkeypatch.setattr(schemas, "latest", lambda topic: newer)
    registry = FakeRegistry()
    registry.schemas[3] = older
    assert a_codec(registry).decode("sessions", payload) == a_session_with(payload, operator=None)


def a_session_with(payload: bytes, **more) -> dict:
    from io import BytesIO

    older = fastavro.parse_schema(schemas.without_logical_types(schemas.versions("sessions")[0][1]))
    return fastavro.schemaless_reader(BytesIO(payload[5:]), older, None) | more
