"""A stream from a real RTSP server over a real socket, decoded by OpenCV's FFmpeg."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import simplejpeg

from connectors.cameras.sources import open_source
from contracts.settings import CameraSettings
from tests.support.rtsp_server import RtspCamera

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = CameraSettings(reconnect_seconds=0.2)


def test_a_stream_gives_the_pictures_of_the_camera():
    with RtspCamera(fps=25) as camera:
        source = open_source(camera.url, SETTINGS)
        images = source.images(threading.Event(), lambda _text: None)
        first = [next(images) for _ in range(10)]
        images.close()
    assert {(image.width, image.height, image.encoding) for image in first} == {(320, 240, "jpeg")}
    pixels = simplejpeg.decode_jpeg(first[0].image, colorspace="GRAY")[..., 0].astype(int)
    columns = np.median(pixels, axis=0)
    assert columns.min() < 40  # the stripes: dark 20, bright 220
    assert columns.max() > 200
    assert len({image.image for image in first}) > 5, "the stripes stand still"


def test_a_camera_that_loses_its_power_is_found_again():
    camera = RtspCamera(fps=25)
    said: list[str] = []
    stop = threading.Event()
    images = open_source(camera.url, SETTINGS).images(stop, said.append)
    for _ in range(5):
        next(images)
    camera.stop()
    back: list[RtspCamera] = []
    threading.Timer(1.0, lambda: back.append(RtspCamera(port=camera.port, fps=25))).start()
    began = time.monotonic()
    while not back or back[0].plays == 0:
        next(images)
        assert time.monotonic() - began < 30
    assert next(images).width == 320
    images.close()
    back[0].stop()
    assert any("trying again" in text for text in said)
    assert said[-1] == ""


def test_a_wrong_password_is_waited_for_and_never_shown(capfd):
    with RtspCamera(password="right-one") as camera:
        url = camera.url.replace("right-one", "wrong-one")
        stop = threading.Event()
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            stop.set()

        source = open_source(url, SETTINGS)
        assert list(source.images(stop, say)) == []
    shown = capfd.readouterr()
    everything = " ".join([*said, source.description, shown.out, shown.err])
    assert "no picture from rtsp://127.0.0.1" in everything
    assert "wrong-one" not in everything


THREE_TRIES = """
import sys, threading
from connectors.cameras.sources import open_source
from contracts.settings import CameraSettings

stop, tries = threading.Event(), []

def say(text):
    tries.append(text)
    if len(tries) == 3:
        stop.set()

assert list(open_source(sys.argv[1], CameraSettings(reconnect_seconds=0.01)).images(stop, say)) == []
print(len(tries), "tries")
"""


def test_a_camera_that_never_answers_is_told_once_and_in_our_words():
    # In a process of its own: FFmpeg asks once, at its first use, how much it may say.
    command = [sys.executable, "-c", THREE_TRIES, "rtsp://127.0.0.1:1/line"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    everything = shown.stdout + shown.stderr
    assert "3 tries" in shown.stdout
    assert everything.count("source_away") == 1
    assert "Connection refused" not in everything


def test_a_rate_leaves_frames_out():
    with RtspCamera(fps=25) as camera:
        images = open_source(camera.url, SETTINGS, frames_per_second=5).images(threading.Event(), lambda _text: None)
        next(images)
        began = time.monotonic()
        for _ in range(10):
            next(images)
        seconds = time.monotonic() - began
        images.close()
    assert 1.5 < seconds < 4.0  # 10 frames at 5 a second
