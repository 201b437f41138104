"""Which dead letters may be replayed, and as what; the registry's part is played by a codec in memory."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.dead_letters import HEADER_REPLAYED_FROM, DeadLetter
from connectors.replay import OBJECT_CONFLICT, Replayable, load_edit, prepare
from contracts.errors import Rejected
from contracts.records import Record
from contracts.topics import HEADER_REASON
from tests.support.records import a_frame_record

JAVA = Path(__file__).parents[2] / "connectors/plugins-java/src/main/java/sightline/connect"


class MemoryCodec:
    """Payload n is record n; anything else cannot be decoded."""

    def __init__(self, *records: Record) -> None:
        self.records = list(records)

    def decode(self, _topic: str, payload: bytes | None) -> Record:
        try:
            return dict(self.records[int(payload or b"none")])
        except ValueError:
            raise Rejected("no Avro", code="undecodable") from None

    def encode(self, _topic: str, record: Record) -> bytes:
        if not isinstance(record["width"], int):
            raise Rejected("width is no int", code="unencodable")
        self.records.append(record)
        return str(len(self.records) - 1).encode()


def a_letter(**changes: Any) -> DeadLetter:
    return DeadLetter(
        **{
            "consumer": "frames_to_s3",
            "offset": 7,
            "origin_topic": "frames",
            "origin_partition": 1,
            "origin_offset": 2,
            "stage": "TRANSFORMATION",
            "exception": "sightline.connect.Violation",
            "reason": "sha256_mismatch: sha256 is not that of the image's bytes",
            "refused_at": datetime.now(UTC),
            "key": b"c1",
            "payload": b"0",
            "headers": ((HEADER_REASON, b"why"), ("theirs", b"kept")),
        }
        | changes
    )


def prepared(codec: MemoryCodec, letter: DeadLetter, edit: dict[str, Any] | None = None) -> Replayable:
    return prepare(
        codec,  # type: ignore[arg-type]
        letter,
        letter.payload,
        edit,
        now=datetime.now(UTC),
        retention=timedelta(days=90),
    )


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("sha256_mismatch: not that of the image", "sha256_mismatch"),
        ("undecodable: 3 bytes", "undecodable"),
        ("Error: something else", "other"),
        ("org.x.Exception: at a:b", "other"),
        ("", "other"),
    ],
)
def test_a_reason_is_counted_by_its_code(reason: str, code: str) -> None:
    assert a_letter(reason=reason).code == code


def test_a_good_record_goes_back_as_it_came_without_the_headers_of_its_refusal() -> None:
    ready = prepared(MemoryCodec(a_frame_record()), a_letter())
    assert (ready.topic, ready.key, ready.value) == ("frames", b"c1", b"0")
    assert ready.headers == [("theirs", b"kept"), (HEADER_REPLAYED_FROM, b"frames_to_s3:7")]


def test_a_record_replayed_a_second_time_names_its_last_dead_letter_only() -> None:
    letter = a_letter(headers=((HEADER_REPLAYED_FROM, b"stream:1"),))
    assert letter.replayed_from == "stream:1"
    assert prepared(MemoryCodec(a_frame_record()), letter).headers == [(HEADER_REPLAYED_FROM, b"frames_to_s3:7")]


@pytest.mark.parametrize(
    ("record", "letter", "code"),
    [
        (a_frame_record(sha256="0" * 64), a_letter(), "sha256_mismatch"),
        (a_frame_record(), a_letter(key=b"c2"), "key_mismatch"),
        (a_frame_record(), a_letter(key=None), "key_mismatch"),
        (a_frame_record(), a_letter(payload=b"garbage"), "undecodable"),
        (a_frame_record(), a_letter(payload=None), "undecodable"),
        (a_frame_record(), a_letter(origin_topic=None), "no_origin"),
        (a_frame_record(), a_letter(origin_topic="__consumer_offsets"), "no_origin"),
    ],
)
def test_what_would_be_refused_again_is_refused_here(record: Record, letter: DeadLetter, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        prepared(MemoryCodec(record), letter)
    assert refused.value.code == code


def test_the_loser_of_a_conflict_is_not_sent_again_as_it_is_but_with_an_id_of_its_own() -> None:
    lost = a_frame_record(camera_id="c1")
    letter = a_letter(reason="object_conflict: object exists with another sha256: a key has ...")
    with pytest.raises(Rejected, match=r"first stored stays.*--edit") as refused:
        prepared(MemoryCodec(lost), letter)
    assert refused.value.code == "object_conflict"
    own = a_frame_record(camera_id="c1")
    codec = MemoryCodec(lost)
    edit = {name: own[name] for name in ("frame_id", "captured_at", "object_key")}
    with pytest.raises(Rejected, match=r"sequence twice.*sequence beyond all that the session captured") as twice:
        prepared(codec, letter, edit)
    assert twice.value.code == "object_conflict"
    edit["sequence"] = lost["sequence"] + 1000
    assert codec.decode("frames", prepared(codec, letter, edit).value)["object_key"] == own["object_key"]


def test_the_conflict_is_known_by_the_code_that_the_sink_writes() -> None:
    source = JAVA / "FrameStore.java"
    assert f'new Violation("{OBJECT_CONFLICT}"' in source.read_text("utf-8")


def test_an_edit_replaces_fields_and_the_key_follows_the_record() -> None:
    good = a_frame_record(camera_id="c2")
    codec = MemoryCodec(good | {"width": 0})
    ready = prepared(codec, a_letter(key=b"wrong"), {"width": 64})
    assert ready.key == b"c2"
    assert codec.decode("frames", ready.value) == good


def test_an_edit_of_what_cannot_be_decoded_needs_every_field() -> None:
    letter = a_letter(payload=b"garbage")
    with pytest.raises(Rejected, match=r"must hold every field: add .*camera_id"):
        prepared(MemoryCodec(), letter, {"width": 64})
    codec = MemoryCodec()
    whole = a_frame_record()
    assert codec.decode("frames", prepared(codec, letter, whole).value) == whole


@pytest.mark.parametrize(("edit", "code"), [({"witdh": 1}, "bad_edit"), ({"width": "wide"}, "unencodable")])
def test_a_mistake_in_an_edit_is_named(edit: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as refused:
        prepared(MemoryCodec(a_frame_record()), a_letter(), edit)
    assert refused.value.code == code


def test_an_image_in_an_edit_brings_its_size_and_digest(tmp_path: Path) -> None:
    (tmp_path / "new.jpg").write_bytes(b"new bytes")
    (tmp_path / "edit.json").write_text(json.dumps({"image": "new.jpg", "size_bytes": 1, "sha256": "old"}))
    assert load_edit(tmp_path / "edit.json") == {
        "image": b"new bytes",
        "size_bytes": 9,
        "sha256": hashlib.sha256(b"new bytes").hexdigest(),
    }


@pytest.mark.parametrize("text", ["[1]", "not JSON", '{"image": 3}', '{"image": "missing.jpg"}'])
def test_a_file_that_is_no_edit_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "edit.json"
    file.write_text(text)
    with pytest.raises(Rejected) as refused:
        load_edit(file)
    assert refused.value.code == "bad_edit"
