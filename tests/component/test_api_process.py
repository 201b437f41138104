"""The service as it runs: real processes on one socket, under load, killed, drained, spoken to badly."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from typing import Self

import httpx
import pytest

from tests.support.images import jpeg, png
from tests.support.running_api import DEMO_MODEL, RunningApi, launched_api, running_api, until
from tests.support.waiting import eventually

HEAD = b"POST /v1/detections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer operator\r\nContent-Type: image/jpeg\r\n"


class Load:
    """Clients that ask without a pause, each over its own kept connection, and keep every outcome."""

    def __init__(self, api: RunningApi, *, clients: int, path: str = "/v1/detections") -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._api, self._path, self._stop = api, path, threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        body = jpeg()
        with self._api.client() as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    answer = client.post(self._path, content=body)
                    outcome = str(answer.status_code)
                except httpx.ConnectError:
                    outcome = "not accepted"  # nobody listens: nothing was lost
                except httpx.TransportError as error:
                    outcome = f"failed {type(error).__name__}"
                with self._lock:
                    self.outcomes[outcome] += 1
                    self.seconds.append(time.monotonic() - began)
                if outcome == "not accepted":
                    time.sleep(0.02)


def spoken(api: RunningApi, *pieces: bytes, pause: float = 0, seconds: float = 15) -> bytes:
    """What the service answers to these bytes, up to the end of the connection or of the answer."""
    port = int(api.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        for piece in pieces:
            connection.sendall(piece)
            if pause:
                time.sleep(pause)
        answer = b""
        while not _is_whole(answer):
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        return answer


def _is_whole(answer: bytes) -> bool:
    head, mark, body = answer.partition(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    return bool(mark) and length is not None and len(body) >= int(length.partition(b":")[2])


def test_every_process_serves_on_its_own_core_and_the_metrics_count_them_all():
    with running_api(processes=2) as api:
        cores = [tuple(child.cpu_affinity()) for child in api.children()]
        if len(os.sched_getaffinity(0)) >= 2:
            assert sorted(cores) == [(core,) for core in sorted(os.sched_getaffinity(0))[:2]]
        clients = [api.client() for _ in range(8)]  # kept connections, so both processes have some
        for _ in range(5):
            assert [client.post("/v1/detections", content=jpeg()).status_code for client in clients] == [200] * 8
        for client in clients:
            client.close()
        counted = 'sightline_api_requests_total{method="POST",route="/v1/detections",status="200"} 40.0'
        assert all(counted in api.metrics() for _ in range(6)), "whichever process answers"
        assert api.stop() == 0


def test_connections_are_shared_evenly_so_that_no_core_idles():
    with running_api(processes=2) as api:
        clients = [api.client() for _ in range(12)]
        for client in clients:
            assert client.get("/healthz").status_code == 200
        counts = [
            sum(one.status == "ESTABLISHED" for one in child.net_connections(kind="tcp")) for child in api.children()
        ]
        for client in clients:
            client.close()
    assert min(counts) >= 4, counts


def test_a_full_queue_answers_503_at_once_and_goes_on_serving():
    with running_api(slow=0.2, queued_requests=2) as api, Load(api, clients=6) as load:
        until(lambda: load.outcomes["503"] > 20 and load.outcomes["200"] > 5, 20)
        with api.client() as client:
            refused = eventually(lambda: _refused(client), seconds=10, every=0.01)
        assert refused.json()["code"] == "queue_full"
        assert refused.headers["retry-after"] == "1"
        assert 'sightline_api_refused_total{reason="queue_full"}' in api.metrics()
    assert set(load.outcomes) == {"200", "503"}


def _refused(client: httpx.Client) -> httpx.Response | None:
    answer = client.post("/v1/detections", content=jpeg())
    return answer if answer.status_code == 503 else None


def test_who_waits_longer_than_the_deadline_gets_503_and_the_others_their_answers():
    """Six clients, an engine for two and a half: who cannot be answered in time must not make the others late."""
    with running_api(slow=0.4, queued_requests=8, request_seconds=1.0) as api, Load(api, clients=6) as load:
        until(lambda: load.outcomes["503"] >= 5 and load.outcomes["200"] >= 5, 20)
        before, began = load.outcomes["200"], time.monotonic()
        time.sleep(4)
        rate = (load.outcomes["200"] - before) / (time.monotonic() - began)
    assert set(load.outcomes) == {"200", "503"}
    assert max(load.seconds) < 3
    assert rate > 1.5, f"{rate:.1f} answers a second of 2.5 that the engine can give"


def test_a_drain_under_load_fails_no_request_that_was_accepted():
    with running_api(processes=2, slow=0.05) as api, Load(api, clients=8) as load:
        until(lambda: load.outcomes["200"] > 50, 20)
        began = time.monotonic()
        assert api.stop() == 0
        assert time.monotonic() - began < 9
        until(lambda: load.outcomes["not accepted"] > 8, 10)
    assert set(load.outcomes) == {"200", "not accepted"}, load.outcomes


def test_one_process_stopped_under_load_fails_nothing_and_is_replaced():
    with running_api(processes=2, slow=0.02) as api, Load(api, clients=8) as load:
        until(lambda: load.outcomes["200"] > 50, 20)
        first = api.children()[0]
        first.send_signal(signal.SIGTERM)
        until(lambda: first.pid not in {child.pid for child in api.children()}, 10)
        until(lambda: len(api.children()) == 2 and api.log().count('"model_loaded"') == 3, 60)
    assert set(load.outcomes) == {"200"}, load.outcomes


def test_a_killed_process_costs_its_own_requests_only_and_is_replaced():
    arriving: Counter[int] = Counter()  # connections made while the new process loads its model
    with (
        running_api(processes=2, slow=0.02, environment={"SLOW_LOAD": "2"}) as api,
        Load(api, clients=4) as load,
    ):
        until(lambda: load.outcomes["200"] > 50, 20)
        api.children()[0].kill()
        until(lambda: '"process_ended"' in api.log(), 20)
        until_loaded = time.monotonic() + 60
        while api.log().count('"model_loaded"') < 3 and time.monotonic() < until_loaded:
            with api.client() as client:
                arriving[client.post("/v1/detections", content=jpeg()).status_code] += 1
        done = load.outcomes["200"]
        until(lambda: load.outcomes["200"] > done + 50, 20)
    assert set(arriving) == {200}, arriving
    assert arriving[200] > 10
    failed = sum(count for outcome, count in load.outcomes.items() if outcome.startswith("failed"))
    assert 0 < load.outcomes["200"]
    assert failed <= 4, load.outcomes
    assert not {outcome for outcome in load.outcomes if outcome[0].isdigit()} - {"200"}


def test_a_killed_parent_leaves_no_process_and_the_port_free_for_the_next():
    with running_api(processes=2) as api:
        children = api.children()
        api.process.kill()
        api.process.wait()
        until(lambda: not any(child.is_running() for child in children), 15)
        with launched_api(port=int(api.url.rpartition(":")[2])) as again:
            until(lambda: '"model_loaded"' in again.log(), 60)


def test_readiness_is_false_first_while_the_last_requests_are_finished():
    with running_api(slow=1.0) as api:
        with api.client() as slow, api.client() as watcher:
            assert watcher.get("/readyz").json()["is_ready"] is True
            answers: list[httpx.Response] = []
            asking = threading.Thread(target=lambda: answers.append(slow.post("/v1/detections", content=jpeg())))
            asking.start()
            time.sleep(0.3)
            api.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            readiness = watcher.get("/readyz")  # on a connection that was there before
            asking.join()
        assert (readiness.status_code, readiness.json()["is_draining"]) == (503, True)
        assert readiness.headers["connection"] == "close"
        assert answers[0].status_code == 200
        assert api.process.wait(10) == 0


def test_a_wrong_setting_ends_the_service_with_78_and_its_name(tmp_path):
    with launched_api(environment={"SIGHTLINE_API__PROCESES": "2"}) as api:
        assert api.process.wait(30) == 78
        assert "SIGHTLINE_API__PROCESES" in api.log()
    with launched_api(engine="openvino", model_folder=tmp_path) as api:
        assert api.process.wait(60) == 78
        assert "model.json" in api.log()


def test_a_port_that_stays_held_ends_the_service_with_75():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with launched_api(port=other.getsockname()[1]) as api:
            assert api.process.wait(60) == 75
            assert "is held by another program" in api.log()


@pytest.fixture(scope="module")
def strict():
    """A service with small limits, for clients that misbehave."""
    with running_api(
        processes=1, engine="openvino", model_folder=DEMO_MODEL, max_body_bytes=100_000, read_seconds=1.0
    ) as api:
        yield api


def test_a_chunked_body_is_cut_at_the_limit_without_reading_it_all(strict: RunningApi):
    chunk = b"10000\r\n" + b"\xff" * 0x10000 + b"\r\n"
    answer = spoken(strict, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(strict: RunningApi):
    began = time.monotonic()
    answer = spoken(strict, HEAD + b"Content-Length: 99999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began < 0.9, "it waited for a body"


def test_a_client_that_waits_for_100_continue_hears_401_or_413_instead(strict: RunningApi):
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    assert spoken(strict, head).startswith(b"HTTP/1.1 413 ")
    anonymous = head.replace(b"Authorization: Bearer operator\r\n", b"")
    assert spoken(strict, anonymous).startswith(b"HTTP/1.1 401 ")


def test_a_length_that_lies_is_a_bad_request_and_hurts_nobody(strict: RunningApi):
    image = jpeg()
    short = spoken(strict, HEAD + b"Content-Length: 10\r\n\r\n" + image[:10])
    assert short.startswith(b"HTTP/1.1 422 "), "ten bytes are no image"
    began = time.monotonic()
    long = spoken(strict, HEAD + f"Content-Length: {len(image) + 10}\r\n\r\n".encode() + image)
    assert long.startswith(b"HTTP/1.1 408 "), "the last ten bytes never came"
    assert time.monotonic() - began < 4
    with strict.client() as client:
        assert client.post("/v1/detections", content=image).status_code == 200


def test_a_body_that_trickles_is_given_up_in_time_and_holds_no_place(strict: RunningApi):
    """The last drop counts, not each: a byte now and then must not keep a request alive."""
    answers: list[bytes] = []

    def trickle() -> None:
        try:
            answers.append(spoken(strict, HEAD + b"Content-Length: 5000\r\n\r\n", *[b"x"] * 12, pause=0.15))
        except OSError as error:
            answers.append(repr(error).encode())

    threads = [threading.Thread(target=trickle) for _ in range(20)]
    for thread in threads:
        thread.start()
    with strict.client() as client:
        for _ in range(5):
            assert client.post("/v1/detections", content=jpeg()).status_code == 200
    for thread in threads:
        thread.join()
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers), Counter(answer[:20] for answer in answers)


def test_a_connection_that_never_finishes_its_head_is_cut(strict: RunningApi):
    began = time.monotonic()
    assert spoken(strict, b"POST /v1/detections HTTP/1.1\r\nHost: x\r\n") == b""
    assert spoken(strict) == b""
    assert time.monotonic() - began < 10


def test_after_a_refusal_the_same_connection_serves_the_next_request(strict: RunningApi):
    port = int(strict.url.rpartition(":")[2])
    image = jpeg()
    big = HEAD + b"Content-Length: 150000\r\n\r\n" + b"\xff" * 150_000
    good = HEAD + f"Content-Length: {len(image)}\r\n\r\n".encode() + image
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for request, status in ((big, b"413"), (good, b"200")):
            connection.sendall(request)
            answer = b""
            while not _is_whole(answer):
                piece = connection.recv(65536)
                assert piece, f"the connection ended after {answer[:100]!r}"
                answer += piece
            assert answer[9:12] == status


def test_garbage_is_a_bad_request(strict: RunningApi):
    assert spoken(strict, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 not http\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_the_demo_model_answers_over_a_real_connection(strict: RunningApi):
    with strict.client() as client:
        answer = client.post("/v1/detections", content=(DEMO_MODEL / "golden/00.jpg").read_bytes())
        assert answer.status_code == 200
        assert answer.json()["detections"]
        assert answer.json()["model"]["engine"] == "openvino"
        assert client.post("/v1/detections", content=png()).json()["detections"] == []
        head = client.head("/readyz")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 50
