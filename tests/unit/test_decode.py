"""Every bad image has one outcome, and no bytes at all make the decoder raise."""

from __future__ import annotations

import struct
import time
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.domain.decode import Header, Status, decode, read_header

MAX_PIXELS = 1_000_000
PNG = b"\x89PNG\r\n\x1a\n"


def a_picture(width: int = 40, height: int = 30) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 4, columns * 4, np.full_like(rows, 90)], axis=2).astype(np.uint8)


def a_jpeg(width: int = 40, height: int = 30) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(a_picture(width, height)), quality=95)
    return encoded


def a_png_of(pixels: NDArray[np.generic]) -> bytes:
    done, encoded = cv2.imencode(".png", pixels)
    assert done
    return encoded.tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def a_png(*, width: int, height: int, depth: int, colour: int, rows: bytes, before: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_frame_header(jpeg: bytes, *, marker: int = 0xC0, bits: int = 8, components: int = 3) -> bytes:
    """The JPEG with another kind of frame in its header."""
    at = jpeg.index(b"\xff\xc0")
    return (
        jpeg[:at]
        + bytes([0xFF, marker])
        + jpeg[at + 2 : at + 4]
        + bytes([bits])
        + jpeg[at + 5 : at + 9]
        + bytes([components])
        + jpeg[at + 10 :]
    )


def with_a_cut_frame_header(jpeg: bytes) -> bytes:
    """The JPEG whose frame header says that it ends behind its height."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 2] + b"\x00\x05" + jpeg[at + 4 :]


def with_more_scans(jpeg: bytes, count: int) -> bytes:
    """The JPEG with its only scan written again and again."""
    return jpeg[:-2] + jpeg[jpeg.index(b"\xff\xda") : -2] * count + jpeg[-2:]


def pixels_of(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    image = decode(data, max_pixels=max_pixels)
    assert not isinstance(image, Status), image
    return image


def test_a_jpeg_becomes_rgb() -> None:
    image = pixels_of(a_jpeg())
    assert image.shape == (30, 40, 3)
    assert np.abs(image.astype(int) - a_picture().astype(int)).mean() < 3


def test_a_png_becomes_rgb_exactly() -> None:
    np.testing.assert_array_equal(pixels_of(a_png_of(a_picture()[..., ::-1])), a_picture())


def test_a_grey_jpeg_has_three_equal_channels() -> None:
    grey = np.ascontiguousarray(a_picture()[..., :1])
    image = pixels_of(simplejpeg.encode_jpeg(grey, colorspace="GRAY"))
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_a_progressive_jpeg_is_read() -> None:
    done, encoded = cv2.imencode(".jpg", a_picture(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    assert pixels_of(encoded.tobytes()).shape == (30, 40, 3)


def test_a_16_bit_png_keeps_its_high_bytes() -> None:
    wide = a_picture().astype(np.uint16)[..., ::-1] * 257
    np.testing.assert_array_equal(pixels_of(a_png_of(wide)), a_picture())


def test_a_png_with_alpha_loses_it() -> None:
    with_alpha = np.dstack([a_picture()[..., ::-1], np.full((30, 40), 10, np.uint8)])
    np.testing.assert_array_equal(pixels_of(a_png_of(with_alpha)), a_picture())


def test_a_png_with_a_palette_shows_its_colours() -> None:
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
    data = a_png(width=2, height=1, depth=8, colour=3, rows=bytes([0, 0, 1]), before=palette)
    np.testing.assert_array_equal(pixels_of(data), [[[255, 0, 0], [0, 0, 255]]])


def test_of_an_animated_png_the_first_picture_is_taken() -> None:
    control = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 10, 0, 0)
    before = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", control)
    still = a_png(width=1, height=1, depth=8, colour=2, rows=bytes([0, 9, 8, 7]), before=before)
    second = chunk(b"fcTL", struct.pack(">I", 1) + control[4:]) + chunk(
        b"fdAT", struct.pack(">I", 2) + zlib.compress(bytes([0, 1, 1, 1]))
    )
    data = still[:-12] + second + still[-12:]
    np.testing.assert_array_equal(pixels_of(data), [[[9, 8, 7]]])


CONTROL = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 64, 64, 0, 0, 1, 10, 0, 0))
HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
PIXELS = chunk(b"IDAT", zlib.compress(bytes(64 * 193)))
END = chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "chunks",
    [
        [HEADER, chunk(b"acTL", b"\xff" * 4 + bytes(4)), chunk(b"IDAT", b"("), CONTROL, HEADER, END],
        [HEADER, PIXELS, HEADER, END],
        [HEADER, PIXELS, CONTROL, PIXELS, END],
        [HEADER, PIXELS, chunk(b"PLTE", bytes(6)), END],
        [HEADER, chunk(b"tRNS", bytes(6)), chunk(b"PLTE", bytes(6)), PIXELS, END],
        [HEADER, chunk(b"ABCD", b""), PIXELS, END],
        [HEADER, END],
    ],
    ids=[
        "a second header behind an animation", "a second header", "pixels in two places", "palette behind the pixels",
        "transparency before the palette", "an unknown chunk that must be known", "no pixels",
    ],
)  # fmt: skip
def test_chunks_out_of_order_never_reach_the_decoder(chunks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the decoder was asked"))  # it may end the process
    assert decode(PNG + b"".join(chunks), max_pixels=MAX_PIXELS) is Status.UNDECODABLE


def test_the_decoder_gets_only_the_chunks_of_a_still_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    given, imdecode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: given.append(bytes(data)) or imdecode(data, flags))
    plain = PNG + HEADER + PIXELS + END
    decorated = PNG + HEADER + chunk(b"acTL", bytes(8)) + CONTROL + PIXELS + chunk(b"eXIf", b"MM") + END + b"behind"
    assert pixels_of(plain).shape == (64, 64, 3)
    np.testing.assert_array_equal(pixels_of(decorated), pixels_of(plain))
    assert set(given) == {plain}


def test_scans_of_a_thumbnail_and_of_pictures_behind_the_end_do_not_count() -> None:
    jpeg = a_jpeg()
    inside = b"\xff\xe1" + struct.pack(">H", 2 + 3 * len(jpeg)) + jpeg * 3
    np.testing.assert_array_equal(pixels_of(jpeg[:2] + inside + jpeg[2:] + jpeg * 3), pixels_of(jpeg))


def test_a_baseline_jpeg_with_a_scan_for_each_component_is_read() -> None:
    done, encoded = cv2.imencode(".jpg", a_picture())
    assert done
    assert read_header(with_more_scans(encoded.tobytes(), 2), max_pixels=MAX_PIXELS) == Header(
        encoding="jpeg", width=40, height=30
    )


@pytest.mark.parametrize("filling", [b"\xff\x00", b"\xff\xff", b"\xff\xe1\x00\x02", b"\xff\xda"])
def test_a_jpeg_full_of_markers_is_judged_in_milliseconds(filling: bytes) -> None:
    data = a_jpeg()[:-2] + filling * (4 * 2**20 // len(filling)) + b"\xff\xda" * 5
    started = time.process_time()
    assert read_header(data, max_pixels=MAX_PIXELS) is Status.UNSUPPORTED
    assert time.process_time() - started < 0.5


def test_exif_orientation_is_ignored() -> None:
    jpeg = a_jpeg()
    turned = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(turned) + 2) + turned + jpeg[2:]
    np.testing.assert_array_equal(pixels_of(data), pixels_of(jpeg))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is no picture, whatever its name says\n",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        PNG,
        a_jpeg()[: len(a_jpeg()) // 2],
        a_jpeg()[:-2],
        a_png_of(a_picture())[:-20],
        a_png_of(a_picture())[:-12],
        b"GIF89a" + bytes(40),
        a_jpeg()[:2] + bytes(200),
        a_jpeg()[:2] + b"stray" + a_jpeg()[2:],
        with_a_cut_frame_header(a_jpeg()),
        a_png(width=40, height=30, depth=8, colour=2, rows=bytes(50)),
        a_png(width=40, height=30, depth=7, colour=2, rows=bytes(30 * 121)),
    ],
    ids=[
        "empty", "text", "two bytes of JPEG", "three bytes of JPEG", "PNG signature alone", "half a JPEG",
        "JPEG without its end", "PNG cut short", "PNG without its end", "GIF", "zeros after the start", "stray bytes before the frame", "frame header cut short",
        "PNG with too few pixels", "PNG with an unknown depth",
    ],
)  # fmt: skip
def test_what_is_no_whole_image_is_undecodable(data: bytes) -> None:
    assert decode(data, max_pixels=MAX_PIXELS) is Status.UNDECODABLE


def test_a_damaged_byte_in_a_png_is_noticed() -> None:
    data = bytearray(a_png_of(a_picture()))
    data[len(data) // 2] ^= 1
    assert decode(bytes(data), max_pixels=MAX_PIXELS) is Status.UNDECODABLE


@pytest.mark.parametrize(
    "data",
    [
        with_frame_header(a_jpeg(), components=4),
        with_frame_header(a_jpeg(), bits=12),
        with_frame_header(a_jpeg(), marker=0xC3),
        with_frame_header(a_jpeg(), marker=0xC9),
        with_frame_header(a_jpeg(), marker=0xC2)[:-2] + b"\xff\xda" * 200 + b"\xff\xd9",
        with_more_scans(a_jpeg(), 3),
        with_frame_header(with_more_scans(a_jpeg(), 3), marker=0xC1),
    ],
    ids=[
        "CMYK", "12 bits", "lossless", "arithmetic coding", "200 passes", "baseline of 4 passes",
        "extended sequential of 4 passes",
    ],
)  # fmt: skip
def test_a_kind_of_jpeg_that_no_camera_writes_is_unsupported(data: bytes) -> None:
    assert decode(data, max_pixels=MAX_PIXELS) is Status.UNSUPPORTED


def test_a_real_cmyk_jpeg_is_unsupported() -> None:
    cmyk = np.zeros((16, 16, 4), np.uint8)
    assert decode(simplejpeg.encode_jpeg(cmyk, colorspace="CMYK"), max_pixels=MAX_PIXELS) is Status.UNSUPPORTED


def test_a_png_of_200_megapixels_is_too_large_by_its_header_alone() -> None:
    data = a_png(width=20_000, height=10_000, depth=8, colour=2, rows=b"")
    assert decode(data, max_pixels=50_000_000) is Status.TOO_LARGE
    assert decode(data, max_pixels=200_000_000) is Status.UNDECODABLE


def test_the_limit_itself_is_allowed() -> None:
    assert decode(a_jpeg(), max_pixels=1199) is Status.TOO_LARGE
    assert pixels_of(a_jpeg(), max_pixels=1200).shape == (30, 40, 3)


def test_header_tells_the_encoding_and_the_size() -> None:
    assert read_header(a_jpeg(), max_pixels=MAX_PIXELS) == Header(encoding="jpeg", width=40, height=30)
    assert read_header(a_png_of(a_picture()), max_pixels=MAX_PIXELS) == Header(encoding="png", width=40, height=30)


SOUND = [a_jpeg(), a_png_of(a_picture()), a_png_of(a_picture().astype(np.uint16) * 257), a_jpeg(9, 200)]


@settings(max_examples=400, deadline=None)
@example(PNG + bytes(30))
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda tail: b"\xff\xd8\xff" + tail),
        st.binary(max_size=200).map(lambda tail: PNG + tail),
        st.binary(max_size=200).map(lambda tail: PNG + struct.pack(">I", 13) + b"IHDR" + tail),
    )
)
def test_no_bytes_make_it_raise(data: bytes) -> None:
    image = decode(data, max_pixels=MAX_PIXELS)
    assert isinstance(image, Status) or image.ndim == 3


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(SOUND), st.data())
def test_no_damage_to_a_sound_image_makes_it_raise(sound: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    image = decode(bytes(damaged[:end]), max_pixels=MAX_PIXELS)
    assert isinstance(image, Status) or (image.ndim == 3 and image.dtype == np.uint8)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 20), st.integers(0, 20), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300),
    st.lists(st.tuples(st.sampled_from([b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"eXIf", b"zTXt"]),
                       st.binary(max_size=40)), max_size=3),
)  # fmt: skip
def test_no_sound_chunks_with_odd_contents_make_it_raise(
    width: int, height: int, depth: int, colour: int, rows: bytes, extra: list[tuple[bytes, bytes]]
) -> None:
    before = b"".join(chunk(kind, content) for kind, content in extra)
    data = a_png(width=width, height=height, depth=depth, colour=colour, rows=rows, before=before)
    image = decode(data, max_pixels=MAX_PIXELS)
    assert isinstance(image, Status) or image.shape == (height, width, 3)
