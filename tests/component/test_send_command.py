"""`sightline send` and `sightline contracts` as a user runs them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from contracts.settings import Settings
from tests.support import command_line
from tests.support.images import jpeg, png
from tests.support.rtsp_server import RtspCamera
from tests.support.topic_reader import read_topic, session_of
from tests.support.waiting import eventually


def a_folder(folder: Path) -> Path:
    (folder / "inner").mkdir()
    (folder / "a.jpg").write_bytes(jpeg())
    (folder / "inner" / "b.png").write_bytes(png())
    (folder / "text.jpg").write_text("I am a text")
    return folder


def test_a_folder_is_sent_and_the_rejected_are_named(stack: Settings, tmp_path: Path):
    outcome = command_line.run(stack, "send", a_folder(tmp_path), "--camera", "command-folder", "--json")
    assert outcome.code == 0, outcome.err
    answer = outcome.answer
    assert (answer["captured"], answer["acknowledged"], answer["rejected"]) == (2, 2, 1)
    assert answer["reasons"] == {"not_an_image": 1}
    assert answer["rejections"] == ["text.jpg: not JPEG or PNG by its content"]
    frames = read_topic(stack, "frames", session_of(answer["session_id"]))
    assert [frame["image"] for frame in frames] == [jpeg(), png()]


def test_the_last_line_is_for_a_person(stack: Settings, tmp_path: Path):
    outcome = command_line.run(stack, "send", a_folder(tmp_path), "--camera", "command-words")
    assert "captured 2, acknowledged 2, rejected 1 (1 not_an_image)" in outcome.out


def test_nothing_but_rejections_is_exit_65(stack: Settings, tmp_path: Path):
    (tmp_path / "text.jpg").write_text("I am a text")
    outcome = command_line.run(stack, "send", tmp_path / "text.jpg", "--camera", "command-rejected")
    assert outcome.code == 65
    assert "not JPEG or PNG" in outcome.out


def test_a_wrong_camera_id_and_a_wrong_source_say_what_is_right(stack: Settings, tmp_path: Path):
    wrong_id = command_line.run(stack, "send", "simulator:", "--camera", "Line 3")
    assert wrong_id.code == 2
    assert "lower-case" in wrong_id.err
    wrong_source = command_line.run(stack, "send", tmp_path / "nowhere", "--camera", "c1")
    assert wrong_source.code == 65
    assert "simulator:" in wrong_source.err


def test_the_simulators_truth_names_the_frames_that_were_sent(stack: Settings, tmp_path: Path):
    truth = tmp_path / "truth.jsonl"
    outcome = command_line.succeed(
        stack,
        "send",
        "simulator:?seed=5&size=64",
        "--camera",
        "command-truth",
        "--count",
        "5",
        "--truth",
        truth,
        "--json",
    )
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    frames = read_topic(stack, "frames", session_of(outcome.answer["session_id"]))
    assert [line["frame_id"] for line in lines] == [frame["frame_id"] for frame in frames]
    assert all(len(line["labels"]) == len(line["boxes"]) >= 3 for line in lines)


def test_ctrl_c_sends_what_was_captured_and_closes_the_session(stack: Settings):
    process = command_line.start(
        stack, "send", "simulator:?size=64", "--camera", "command-stop", "--fps", "20", "--json"
    )
    eventually(lambda: any(r["captured"] > 5 for r in read_topic(stack, "sessions", is_from("command-stop"))))
    process.send_signal(signal.SIGINT)
    outcome = command_line.finish(process, seconds=30)
    assert outcome.code == 0, outcome.err
    answer = outcome.answer
    assert answer["captured"] == answer["acknowledged"] > 5
    assert answer["is_closed"]
    records = read_topic(stack, "sessions", session_of(answer["session_id"]))
    assert (records[-1]["captured"], records[-1]["closed_at"] is None) == (answer["captured"], False)
    assert len(read_topic(stack, "frames", session_of(answer["session_id"]))) == answer["captured"]


def test_kill_9_loses_no_frame_that_the_session_says_is_acknowledged(stack: Settings):
    process = command_line.start(stack, "send", "simulator:?size=64", "--camera", "command-killed", "--fps", "50")
    eventually(lambda: any(r["captured"] > 20 for r in read_topic(stack, "sessions", is_from("command-killed"))))
    process.kill()
    process.communicate()
    last = read_topic(stack, "sessions", is_from("command-killed"))[-1]
    assert last["closed_at"] is None
    sequences = {frame["sequence"] for frame in read_topic(stack, "frames", session_of(last["session_id"]))}
    assert set(range(last["last_acknowledged"] + 1)) <= sequences


def test_a_stream_is_sent_at_its_rate_and_no_login_is_stored(stack: Settings):
    with RtspCamera(fps=25) as camera:
        began = time.monotonic()
        outcome = command_line.succeed(
            stack, "send", camera.url, "--camera", "command-rtsp", "--fps", "10", "--count", "20", "--json", seconds=60
        )
        assert time.monotonic() - began > 1.5
    answer = outcome.answer
    assert answer["source"] == f"rtsp://127.0.0.1:{camera.port}/line"
    everything = outcome.out + outcome.err + str(read_topic(stack, "sessions", session_of(answer["session_id"])))
    assert "s3cret-pass" not in everything
    frames = read_topic(stack, "frames", session_of(answer["session_id"]))
    assert [(frame["width"], frame["height"]) for frame in frames] == [(320, 240)] * 20


def test_the_contracts_agree_on_disk_and_in_the_registry(stack: Settings):
    assert command_line.succeed(stack, "contracts", "check", "--json").answer["problems"] == {
        "frames": [],
        "predictions": [],
        "sessions": [],
    }
    ids = command_line.succeed(stack, "contracts", "register", "--json").answer["ids"]
    assert ids == command_line.succeed(stack, "contracts", "register", "--json").answer["ids"]
    differences = command_line.succeed(stack, "contracts", "diff", "--json").answer["differences"]
    assert differences == {"frames": [], "predictions": [], "sessions": []}


def is_from(camera: str):
    return lambda record: record["camera_id"] == camera
