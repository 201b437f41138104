from __future__ import annotations

import time
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.cameras.headers import Header, NotAnImage, exif_time, read_header
from tests.support.images import huge_png, jpeg, png, with_exif_time

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def test_a_jpeg_tells_its_size_and_a_png_too():
    assert read_header(jpeg(80, 60)) == Header(encoding="jpeg", width=80, height=60)
    assert read_header(png(81, 61)) == Header(encoding="png", width=81, height=61)


def test_a_progressive_jpeg_tells_its_size():
    _, data = cv2.imencode(".jpg", np.zeros((30, 40, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert b"\xff\xc2" in data.tobytes(), "not progressive: the test is worth nothing"
    assert read_header(data.tobytes()) == Header(encoding="jpeg", width=40, height=30)


def test_junk_behind_the_image_is_none_of_the_cameras_business():
    assert read_header(jpeg() + b"junk" * 100) == read_header(jpeg())


def test_a_jpeg_cut_behind_its_header_still_has_its_size():
    whole = jpeg(80, 60)
    assert read_header(whole[: len(whole) * 3 // 4]) == Header(encoding="jpeg", width=80, height=60)


def test_a_png_of_200_megapixels_goes_on_to_the_worker():
    assert read_header(huge_png(20_000, 10_000)) == Header(encoding="png", width=20_000, height=10_000)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_an_image"),
        (b"hello, I am a text", "not_an_image"),
        (b"GIF89a" + bytes(20), "not_an_image"),
        (b"\xff\xd8\xff", "no_dimensions"),
        (b"\xff\xd8\xff\xd9", "no_dimensions"),
        (b"\xff\xd8\xff\xe0\x00\x01", "no_dimensions"),  # a length that does not even count itself
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x40" + bytes(20), "no_dimensions"),  # height 0
        (b"\xff\xd8" + b"\xff" * 1000, "no_dimensions"),
        (b"\x89PNG\r\n\x1a\n", "no_dimensions"),
        (huge_png(0, 10), "no_dimensions"),
        (huge_png(2**31, 10), "no_dimensions"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x0dIDAT" + bytes(20), "no_dimensions"),
    ],
)
def test_what_has_no_readable_size_is_refused_with_a_code(data, code):
    found = read_header(data)
    assert isinstance(found, NotAnImage)
    assert found.code == code


# An Exif segment of 511 tags; every one of them says that the tags to look at are these again.
_TAGS = b"II*\0\x08\0\0\0\xff\x01" + (b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" * 511)
MANY_EXIF_TAGS = b"\xff\xe1" + (8 + len(_TAGS)).to_bytes(2) + b"Exif\0\0" + _TAGS


@pytest.mark.parametrize(
    "piece",
    [
        b"\xff\xe1\x00\x02",  # empty segments
        b"\xff\xd0",  # markers without a length
        b"\xff\x00",  # stray bytes
        b"\xff",  # filling
        MANY_EXIF_TAGS,
    ],
)
def test_four_megabytes_in_front_of_the_size_cost_no_time(piece):
    data = b"\xff\xd8\xff\xe0\x00\x02" + piece * (4 * 1024 * 1024 // len(piece)) + jpeg()[2:]
    began = time.process_time()
    read_header(data)
    assert time.process_time() - began < 0.1


def test_a_jpeg_of_very_many_segments_is_refused_and_one_of_many_is_not():
    empty = b"\xff\xe1\x00\x02"
    assert read_header(b"\xff\xd8" + empty * 9_000 + jpeg(80, 60)[2:]) == Header(encoding="jpeg", width=80, height=60)
    found = read_header(b"\xff\xd8" + empty * 10_000 + jpeg(80, 60)[2:])
    assert found == NotAnImage(
        code="no_dimensions", reason="a JPEG with more than 10000 segments before its dimensions"
    )


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", jpeg()[:200]]))
def test_any_bytes_give_a_sane_header_or_a_reason(tail, start):
    found = read_header(start + tail)
    if isinstance(found, Header):
        assert 0 < found.width < 2**31
        assert 0 < found.height < 2**31
    else:
        assert found.code in {"not_an_image", "no_dimensions"}


@given(st.integers(min_value=0, max_value=2000))
def test_every_truncation_of_an_image_is_read_without_an_error(length):
    for whole in (with_exif_time(jpeg(), "2026:01:31 12:00:00", "+00:00"), png()):
        found = read_header(whole[:length])
        assert isinstance(found, NotAnImage) or found.width == 64


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("taken", "offset"),
    [("2026:01:31 12:00:00", "+00:00"), ("2026:01:31 14:30:00", "+02:30"), ("2026:01:31 07:00:00", "-05:00")],
)
def test_exif_tells_when_the_image_was_taken(order, taken, offset):
    found = read_header(with_exif_time(jpeg(), taken, offset, order=order))
    assert isinstance(found, Header)
    assert found.taken_at == NOON


@pytest.mark.parametrize(
    "taken", ["0000:00:00 00:00:00", "1931:01:01 00:00:00", "yesterday at noon!!", "                   "]
)
def test_an_exif_time_that_is_none_is_left_out(taken):
    found = read_header(with_exif_time(jpeg(), taken, "+00:00"))
    assert isinstance(found, Header)
    assert found.taken_at is None


@given(st.binary(max_size=300), st.sampled_from([b"II*\0", b"MM\0*", b""]))
def test_broken_exif_is_no_error(tail, start):
    found = exif_time(start + tail)
    assert found is None or found.tzinfo is UTC
