"""POST /v1/frames against the real broker and registry: what was answered 202 is in the topic, whatever ends."""

from __future__ import annotations

import threading
import time

import httpx

from contracts.settings import Settings
from tests.support.images import jpeg
from tests.support.running_api import RunningApi, running_api, until
from tests.support.topic_reader import read_topic


def of_stack(stack: Settings) -> dict[str, str]:
    return {
        "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": stack.kafka.bootstrap_servers,
        "SIGHTLINE_REGISTRY__URL": stack.registry.url,
    }


def send(client: httpx.Client, camera: str, shade: int = 90) -> httpx.Response:
    return client.post("/v1/frames", params={"camera_id": camera}, content=jpeg(shade=shade))


def test_frames_sent_at_once_to_several_processes_are_all_in_the_topic(stack: Settings):
    taken: list[dict[str, object]] = []

    def camera(api: RunningApi, name: str) -> None:
        with api.client() as client:
            for shade in range(40):
                answer = send(client, name, shade)
                assert answer.status_code == 202, answer.text
                taken.append(answer.json())

    with running_api(processes=2, environment=of_stack(stack)) as api:
        threads = [threading.Thread(target=camera, args=(api, f"api-{number % 3}")) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert api.stop() == 0

    assert len(taken) == 240
    ids = {frame["frame_id"] for frame in taken}
    stored = read_topic(stack, "frames", lambda frame: frame["frame_id"] in ids)
    assert {frame["frame_id"] for frame in stored} == ids
    known = {frame["frame_id"]: (frame["session_id"], frame["sequence"]) for frame in taken}
    assert {frame["frame_id"]: (frame["session_id"], frame["sequence"]) for frame in stored} == known
    sessions = {session for session, _ in known.values()}
    closed = read_topic(stack, "sessions", lambda one: one["session_id"] in sessions and one["closed_at"] is not None)
    assert {one["session_id"] for one in closed} == sessions, "every session was closed at the drain"
    assert sum(one["last_acknowledged"] + 1 for one in closed) == 240


def test_a_drain_under_load_loses_no_frame_that_was_answered(stack: Settings):
    taken: list[str] = []
    outcomes: set[str] = set()
    stop = threading.Event()

    def camera(api: RunningApi, name: str) -> None:
        with api.client() as client:
            while not stop.is_set():
                try:
                    answer = send(client, name)
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    outcomes.add(type(error).__name__)
                    return
                outcomes.add(str(answer.status_code))
                if answer.status_code == 202:
                    taken.append(answer.json()["frame_id"])

    with running_api(processes=2, environment=of_stack(stack)) as api:
        threads = [threading.Thread(target=camera, args=(api, f"api-drain-{number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(taken) > 100, 30)
        assert api.stop() == 0
        stop.set()
        for thread in threads:
            thread.join()
    assert outcomes <= {"202", "503"}, outcomes
    ids = set(taken)
    assert {frame["frame_id"] for frame in read_topic(stack, "frames", lambda one: one["frame_id"] in ids)} == ids


def test_without_a_broker_a_frame_is_refused_in_time_and_detections_go_on():
    nowhere = {"SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "SIGHTLINE_REGISTRY__URL": "http://127.0.0.1:1"}
    with running_api(environment=nowhere, request_seconds=2) as api, api.client() as client:
        began = time.monotonic()
        answer = send(client, "api-nowhere")
        seconds = time.monotonic() - began
        assert (answer.status_code, answer.json()["code"]) == (503, "broker_away")
        assert answer.headers["retry-after"] == "2"
        assert seconds < 8
        assert client.post("/v1/detections", content=jpeg()).status_code == 200
        assert client.get("/readyz").status_code == 200
        for body, status, code in (
            (b"", 422, "empty"),
            (b"a text", 415, "not_an_image"),
            (b"\xff\xd8\xff\xd9", 422, "no_dimensions"),
            (jpeg() + b"\0" * (4 * 1024 * 1024), 413, "too_large"),
        ):
            refused = client.post("/v1/frames", params={"camera_id": "api-nowhere"}, content=body)
            assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert client.post("/v1/frames", params={"camera_id": "No Camera"}, content=jpeg()).status_code == 422
        assert client.post("/v1/frames", content=jpeg()).status_code == 422
