from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from connectors.cameras.boards import simulate_board
from connectors.cameras.images import CapturedImage, RejectedImage
from connectors.cameras.sources import open_source, without_secrets
from contracts.errors import Rejected
from contracts.settings import CameraSettings
from contracts.topics import MAX_IMAGE_BYTES
from tests.support.images import huge_png, jpeg, png, with_exif_time


def images(source: str | Path, count: int | None = None) -> list:
    found = []
    for image in open_source(str(source), CameraSettings()).images(threading.Event(), lambda _text: None):
        found.append(image)
        if len(found) == count:
            break
    return found


def a_video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((48, 64, 3), number * 20, np.uint8))
    writer.release()
    return path


def test_a_files_bytes_are_sent_as_they_are(tmp_path):
    for name, data, encoding in (("a.jpg", jpeg() + b"junk", "jpeg"), ("b.png", png(), "png")):
        (tmp_path / name).write_bytes(data)
        (image,) = images(tmp_path / name)
        assert (image.image, image.encoding) == (data, encoding)
        assert (image.width, image.height) == (64, 48)


def test_the_time_is_the_exifs_else_the_files(tmp_path):
    plain, dated = tmp_path / "plain.jpg", tmp_path / "dated.jpg"
    plain.write_bytes(jpeg())
    dated.write_bytes(with_exif_time(jpeg(), "2026:01:31 12:00:00", "+00:00"))
    for file in (plain, dated):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    assert images(plain)[0].source_time == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert images(dated)[0].source_time == datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_file_from_before_1970_has_no_time(tmp_path):
    file = tmp_path / "old.jpg"
    file.write_bytes(jpeg())
    os.utime(file, (-1000, -1000))
    assert images(file)[0].source_time is None


def test_a_folder_is_read_recursively_in_order_by_content_and_hidden_files_are_ignored(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b.jpg").write_bytes(jpeg())
    (tmp_path / "a.dat").write_bytes(png())  # a PNG whatever its name
    (tmp_path / "sub" / "c.JPEG").write_bytes(jpeg())
    (tmp_path / ".hidden" / "d.jpg").write_bytes(jpeg())
    (tmp_path / ".e.jpg").write_bytes(jpeg())
    (tmp_path / "text.jpg").write_text("I am a text")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.jpg").write_bytes(jpeg()[:10])
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "away.jpg").symlink_to(tmp_path / "nowhere")
    found = images(tmp_path)
    assert [image.name for image in found if isinstance(image, CapturedImage)] == ["a.dat", "b.jpg", "sub/c.JPEG"]
    assert {image.name: image.code for image in found if isinstance(image, RejectedImage)} == {
        "text.jpg": "not_an_image",
        "empty.png": "empty",
        "cut.jpg": "no_dimensions",
        "pipe.jpg": "unreadable",
        "away.jpg": "unreadable",
    }


def test_an_image_over_the_limit_is_refused_with_the_limit_named(tmp_path):
    largest, larger = tmp_path / "largest.jpg", tmp_path / "larger.jpg"
    largest.write_bytes(jpeg().ljust(MAX_IMAGE_BYTES, b"\0"))
    larger.write_bytes(jpeg().ljust(MAX_IMAGE_BYTES + 1, b"\0"))
    assert isinstance(images(largest)[0], CapturedImage)
    (refused,) = images(larger)
    assert refused.code == "too_large"
    assert str(MAX_IMAGE_BYTES) in refused.reason


def test_broken_pixels_and_huge_sizes_are_the_workers_business(tmp_path):
    whole = jpeg(640, 480)
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (tmp_path / "2.png").write_bytes(huge_png(20_000, 10_000))
    assert [(image.width, image.height) for image in images(tmp_path)] == [(640, 480), (20_000, 10_000)]


def test_a_name_of_any_bytes_can_be_told(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_text("no image")
    (refused,) = images(tmp_path)
    assert refused.name.encode() == b"caf?.jpg"


def test_a_video_gives_every_frame_with_its_position_as_time(tmp_path):
    video = a_video(tmp_path / "line.mp4", 5)
    os.utime(video, (1_000_000_000, 1_000_000_000))
    assert open_source(str(video), CameraSettings()).length == 5
    found = images(video)
    assert [image.name for image in found] == [f"line.mp4 frame {number}" for number in range(5)]
    seconds = [image.source_time.timestamp() - 1_000_000_000 for image in found]
    assert seconds == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=0.002)
    assert {(image.encoding, image.width, image.height) for image in found} == {("jpeg", 64, 48)}


def test_what_is_neither_image_nor_video_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no video either")
    (refused,) = images(tmp_path / "notes.txt")
    assert refused.code == "not_an_image"


def test_the_simulator_gives_boards_with_their_truth():
    first, second = images("simulator:?seed=7&size=320&start=3", count=2)
    board = simulate_board(7, 4, size=320)
    assert (first.name, second.name) == ("board 3", "board 4")
    assert second.truth.labels == board.labels
    assert np.allclose(second.truth.boxes, board.boxes)
    assert (second.width, second.height, second.encoding) == (320, 320, "jpeg")


def test_the_simulator_can_drift():
    (plain,) = images("simulator:?seed=7&size=64", count=1)
    (dark,) = images("simulator:?seed=7&size=64&light=-0.2&noise=0.1", count=1)
    assert plain.image != dark.image
    assert plain.truth == dark.truth


@pytest.mark.parametrize(
    "source",
    [
        "simulator:?sed=7",
        "simulator:?seed=seven",
        "simulator:?seed=-1",
        "simulator:?size=1000000",
        "simulator:?light=nan",
        "simulator:seven",
        "ftp://somewhere/a.jpg",
        "/no/such/folder",
        "",
    ],
)
def test_an_unknown_source_says_what_is_accepted(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # "" is this folder, and empty
    with pytest.raises(Rejected, match=r"SOURCE is|none of|simulator") as caught:
        open_source(source, CameraSettings())
    assert caught.value.code == "unknown_source"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://viewer:s3cret@10.0.0.7:554/line?channel=1", "rtsp://10.0.0.7:554/line"),
        (
            "rtsp://10.0.0.7/user=admin_password=s3cret_channel=1.sdp",
            "rtsp://10.0.0.7/user=***_password=***_channel=1.sdp",
        ),
        ("https://cam.local/live?token=s3cret#s3cret", "https://cam.local/live"),
        ("rtsp://viewer:s3c@ret@10.0.0.7/line", "rtsp://10.0.0.7/line"),
        ("rtsp://viewer:s3cret@[fe80::1]:554/line", "rtsp://[fe80::1]:554/line"),
        ("rtsp://viewer:s3cret@host:port/line", "rtsp://…"),
        (
            "rtsp://10.0.0.7/user=admin_password=s3_cret1_channel=1_stream=0.sdp",
            "rtsp://10.0.0.7/user=***_password=***_channel=1_stream=0.sdp",
        ),
        ("rtsp://viewer:12/s3cret@10.0.0.7/line", "rtsp://…"),
        ("rtsp://viewer:12?s3cret@10.0.0.7/line", "rtsp://…"),
        ("rtsp://viewer:12#s3cret@10.0.0.7/line", "rtsp://…"),
        ("rtsp:///admin:s3cret@10.0.0.7/line", "rtsp://…"),
        ("rtsp://10.0.0.7/line;user=admin;pw=s3cret;channel=1", "rtsp://10.0.0.7/line;user=***;pw=***;channel=1"),
        ("device:0", "device:0"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_session_never_holds_a_login(url, expected):
    assert without_secrets(url) == expected
    assert open_source(url, CameraSettings()).description == expected


def test_a_refused_url_is_told_without_its_login():
    with pytest.raises(Rejected) as caught:
        open_source("rtmp://viewer:s3cret@host/line", CameraSettings())
    assert "s3cret" not in str(caught.value)


def refusals(folder):
    found = open_source(str(folder), CameraSettings()).images(threading.Event(), lambda _text: None)
    return [(image.name, image.code, image.reason) for image in found if isinstance(image, RejectedImage)]


def test_a_link_to_a_folder_is_named_and_left_out(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.jpg").write_bytes(jpeg())
    (folder / "b.jpg").write_bytes(jpeg())
    (folder / "link").symlink_to(elsewhere)
    assert open_source(str(folder), CameraSettings()).length == 2
    assert refusals(folder) == [("link", "unreadable", "a link to a folder")]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.jpg").write_bytes(jpeg())
    scandir = os.scandir

    def guarded(path):  # permissions do not keep root out
        if os.fspath(path) in locked:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    locked = {str(tmp_path / "locked")}
    assert refusals(tmp_path) == [("locked", "unreadable", "a folder that cannot be read: Permission denied")]
    locked = {str(tmp_path)}
    with pytest.raises(Rejected, match="cannot be read: Permission denied"):
        open_source(str(tmp_path), CameraSettings())
