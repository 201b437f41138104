"""Which process takes a connection, and what one does that can take no more."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from inference.api import connections
from inference.api.connections import NOBODY, Accepting, Connection


class Door:
    """One process's place at a socket, beside siblings that are only numbers."""

    def __init__(self, listener: socket.socket, siblings: list[int], **changes: Any) -> None:
        self.counts = [0, *siblings]
        self.is_ready = True
        self.taken: list[asyncio.Protocol] = []
        self.accepting = Accepting(
            listener, self._make, counts=self.counts, number=0, count=lambda: len(self.taken),
            is_ready=lambda: self.is_ready, **({"most": 100} | changes),
        )  # fmt: skip

    def _make(self) -> asyncio.Protocol:
        protocol = asyncio.Protocol()
        self.taken.append(protocol)
        return protocol


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


@contextmanager
def calling(listener: socket.socket, count: int) -> Iterator[None]:
    callers = [socket.create_connection(listener.getsockname()) for _ in range(count)]
    try:
        yield
    finally:
        for caller in callers:
            caller.close()


def test_a_process_that_loads_its_model_counts_as_the_busiest_that_is_there() -> None:
    async def story(listener: socket.socket) -> list[int]:
        door = Door(listener, [5])
        door.is_ready = False
        door.accepting.update()
        said = [door.counts[0]]
        door.is_ready = True
        door.accepting.update()
        said.append(door.counts[0])
        door.accepting.close()
        return said

    with listening() as listener:
        assert asyncio.run(story(listener)) == [NOBODY - 1, 0]


def test_while_it_loads_it_leaves_connections_to_a_sibling_with_a_model(monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "_LOADING_GIVES_WAY_SECONDS", 0.3)

    async def story(listener: socket.socket, siblings: list[int]) -> list[int]:
        door = Door(listener, siblings)
        door.is_ready = False
        with calling(listener, 1):
            await asyncio.sleep(0.1)
            taken = [len(door.taken)]
            async with asyncio.timeout(5):
                while not door.taken:  # noqa: ASYNC110 - the loop itself brings it about
                    await asyncio.sleep(0.01)
        door.accepting.close()
        return [*taken, len(door.taken)]

    with listening() as listener:
        assert asyncio.run(story(listener, [500])) == [0, 1], "the sibling did not come: better than nobody"
    with listening() as listener:
        assert asyncio.run(story(listener, [NOBODY - 1])) == [1, 1], "all load: none is better"


class WithoutDescriptors:
    """A listener whose process has no file descriptor left, for a while."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener, self.is_short, self.asked = listener, True, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.is_short:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listener.accept()


def test_without_a_file_descriptor_it_waits_says_so_once_and_goes_on(monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "_PAUSE_SECONDS", 0.1)
    said: list[str] = []
    monkeypatch.setattr(connections._log, "warning", lambda event, **_: said.append(event))

    async def story(listener: Any) -> tuple[int, int]:
        door = Door(listener, [])
        with calling(listener, 1):
            await asyncio.sleep(0.35)
            asked = listener.asked
            listener.is_short = False
            async with asyncio.timeout(5):
                while not door.taken:  # noqa: ASYNC110 - the loop itself brings it about
                    await asyncio.sleep(0.01)
        door.accepting.close()
        return asked, len(door.taken)

    with listening() as listener:
        asked, taken = asyncio.run(story(WithoutDescriptors(listener)))
    assert 2 <= asked <= 5, "once a pause, not once a turn of the loop"
    assert (taken, said) == (1, ["connections_not_accepted"])


def test_a_shortage_after_giving_way_is_waited_out_too(monkeypatch: Any) -> None:
    async def story(listener: Any) -> int:
        door = Door(listener, [0])
        door.is_ready = False  # gives way first
        with calling(listener, 1):
            await asyncio.sleep(0.3)
        door.accepting.close()
        return listener.asked

    monkeypatch.setattr(connections, "_LOADING_GIVES_WAY_SECONDS", 0.01)
    with listening() as listener:
        assert asyncio.run(story(WithoutDescriptors(listener))) <= 2


def test_connections_beyond_the_most_wait_until_one_ends(monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "_PAUSE_SECONDS", 0.05)

    async def story(listener: socket.socket) -> list[int]:
        door = Door(listener, [], most=2)
        with calling(listener, 3):
            await asyncio.sleep(0.3)
            taken = [len(door.taken)]
            door.taken.pop()
            await asyncio.sleep(0.3)
            taken.append(len(door.taken))
        door.accepting.close()
        return taken

    with listening() as listener:
        assert asyncio.run(story(listener)) == [2, 2]


@pytest.mark.parametrize(
    ("descriptors", "most"), [(1024, 768), (256, 128), (2**20, 10_000), (resource.RLIM_INFINITY, 10_000)]
)
def test_connections_leave_descriptors_for_the_stores(monkeypatch: Any, descriptors: int, most: int) -> None:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connections.most_connections() == most


@pytest.mark.parametrize("is_spoken_to", [False, True])
def test_a_connection_taken_while_the_process_ends_is_told_so(is_spoken_to: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "_LAST_REQUEST_SECONDS", 0.05)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def story() -> bytes:
        config = uvicorn.Config(app, lifespan="off")
        config.load()

        def late() -> Connection:
            made = Connection(config=config, server_state=ServerState(), app_state={})
            made.is_ending = True
            return made

        server = await asyncio.get_running_loop().create_server(late, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        if is_spoken_to:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)  # to the end: the connection is closed
        writer.close()
        server.close()
        return answer

    answer = asyncio.run(story())
    assert (b" 200 " in answer and b"connection: close" in answer.lower()) is is_spoken_to


async def _reads_all(_scope: Any, receive: Any, send: Any) -> None:
    """Reads the body to its end and answers with its length."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    body = str(length).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def answered(*pieces: bytes, app: Any = _reads_all) -> bytes:
    """What comes back on a connection, to its end, for these pieces sent one after another."""

    async def story() -> bytes:
        config = uvicorn.Config(app, lifespan="off")
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(config=config, server_state=ServerState(), app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        server.close()
        return answer

    return asyncio.run(story())


START = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
LINE = b"X-Filling: " + b"a" * 1000 + b"\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [START, *[LINE * 10] * 7],  # they never end
        [START + LINE * 70 + b"\r\n"],  # whole in one read
        [START + b"X-Long: ", *[b"a" * 10_000] * 7],  # one that is never whole
        [b"GET /", *[b"a" * 10_000] * 7],  # nor is the address
        [CHUNKED + b"0\r\n", *[LINE * 10] * 7],  # behind the body
        [CHUNKED + b"3;", *[b"a" * 10_000] * 7],  # beside a piece of it
    ],
)
def test_headers_of_more_than_64_kib_are_refused_before_anybody_logs_in(pieces: list[bytes]) -> None:
    head, _, body = answered(*pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"content-type: application/problem+json" in head
    assert (json.loads(body)["code"], json.loads(body)["status"]) == ("head_too_large", 431)


def test_headers_of_60_kib_and_a_body_of_any_size_are_none_of_that() -> None:
    length = 3_000_000
    whole = START + LINE * 60 + b"Content-Length: %d\r\n\r\n" % length
    assert answered(whole, *[b"a" * 100_000] * 30).endswith(b"\r\n\r\n%d" % length)
    assert answered(CHUNKED, *[b"3\r\nabc\r\n" * 10_000] * 10, b"0\r\n\r\n").endswith(b"\r\n\r\n300003")


@pytest.mark.parametrize(
    "pieces", [[b"\x16\x03\x01 not http\r\n\r\n"], [CHUNKED, b"zzz\r\n"], [START, b"no colon\r\n\r\n"]]
)
def test_what_is_no_http_is_told_so_as_every_other_error(pieces: list[bytes]) -> None:
    head, _, body = answered(*pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["code"] == "bad_request"


def test_an_error_is_never_taken_for_the_answer_to_an_earlier_request() -> None:
    async def slow(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        await asyncio.sleep(1)

    assert answered(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"no http\r\n\r\n", app=slow) == b""


def test_the_clock_of_a_request_runs_from_its_first_byte_however_many_follow() -> None:
    """The server's sweep looks at it: a header a second must not keep a connection for ever."""

    async def story() -> tuple[float | None, float | None]:
        config = uvicorn.Config(_reads_all, lifespan="off")
        config.load()
        connection = Connection(config=config, server_state=ServerState(), app_state={})
        server = await asyncio.get_running_loop().create_server(lambda: connection, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        seen = []
        for piece in (START, LINE, LINE):
            writer.write(piece)
            await asyncio.sleep(0.02)
            seen.append(connection.unfinished_since)
        writer.close()
        await writer.wait_closed()
        server.close()
        return seen[0], seen[-1]

    first, last = asyncio.run(story())
    assert first is not None
    assert first == last
