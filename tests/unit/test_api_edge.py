"""The edge: a body has so many bytes and so much time, whoever reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from starlette.types import Message

from inference.api.edge import Edge
from inference.api.metrics import Metrics
from inference.api.problems import BodyProblem

SECONDS = 0.1


class Client:
    """Sends its pieces, each after a pause."""

    def __init__(self, pieces: Sequence[tuple[float, bytes]]) -> None:
        self._pieces = list(pieces)

    async def receive(self) -> Message:
        pause, piece = self._pieces.pop(0)
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}


async def read(
    pieces: Sequence[tuple[float, bytes]], *, work: float = 0.0, answers: list[Message] | None = None
) -> bytes:
    """What an application gets that reads the whole body, working in between; `answers` takes what the edge says."""
    found: list[bytes] = []

    async def app(_scope, receive, _send) -> None:
        is_whole = False
        while not is_whole:
            message = await receive()
            found.append(message["body"])
            is_whole = not message["more_body"]
            await asyncio.sleep(work)

    async def send(message: Message) -> None:
        (answers if answers is not None else []).append(message)

    edge = Edge(app, metrics=Metrics(), body_bytes=10, read_seconds=SECONDS)
    await edge({"type": "http", "method": "POST"}, Client(pieces).receive, send)
    return b"".join(found)


def test_a_body_in_pieces_is_read_whole() -> None:
    assert asyncio.run(read([(0, b"ab"), (0.01, b"cd"), (0.01, b"")])) == b"abcd"


def test_too_many_bytes_are_refused_with_the_piece_that_is_too_much() -> None:
    with pytest.raises(BodyProblem) as refused:
        asyncio.run(read([(0, b"12345678"), (0, b"901")]))
    assert (refused.value.status_code, refused.value.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("pieces", "work"),
    [
        ([(9, b"a")], 0.0),  # the first never comes
        ([(0.04, b"a")] * 9, 0.0),  # each in good time, all of them not
        ([(0, b"a"), (0, b"b")], 0.15),  # late when it is next asked for
    ],
)
def test_a_body_that_is_not_whole_in_time_is_408(pieces: list[tuple[float, bytes]], work: float) -> None:
    with pytest.raises(BodyProblem) as refused:
        asyncio.run(read(pieces, work=work))
    assert (refused.value.status_code, refused.value.code) == (408, "slow_request")


def test_time_that_passes_after_the_body_is_the_applications_own() -> None:
    assert asyncio.run(read([(0, b"a")], work=2 * SECONDS)) == b"a"


def test_who_is_told_to_stop_meanwhile_stops_and_the_client_reads_that_it_may_try_again() -> None:
    async def story() -> list[Message]:
        answers: list[Message] = []
        reading = asyncio.create_task(read([(9, b"a")], answers=answers))
        await asyncio.sleep(SECONDS / 2)
        reading.cancel()
        assert await reading == b""
        return answers

    check_draining(asyncio.run(story()))


def test_told_to_stop_at_the_very_moment_it_is_late_it_stops() -> None:
    async def story() -> list[Message]:
        answers: list[Message] = []
        reading = asyncio.create_task(read([(9, b"a")], answers=answers))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        # Both fall into one turn of the loop: the deadline's cancellation and this one.
        until = loop.time() + 2 * SECONDS
        loop.call_later(SECONDS / 2, lambda: [None for _ in iter(lambda: loop.time() < until, False)])
        loop.call_later(SECONDS, reading.cancel)
        assert await reading == b""
        return answers

    check_draining(asyncio.run(story()))


def check_draining(answers: list[Message]) -> None:
    start, body = answers
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert json.loads(body["body"])["code"] == "draining"
