"""Which process takes a connection, and what one does that can take no more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inference.api import connections
from inference.api.connections import NOBODY, Accepting


class Door:
    """One process's place at a socket, beside siblings that are only numbers."""

    def __init__(self, listener: socket.socket, siblings: list[int], **changes: Any) -> None:
        self.counts = [0, *siblings]
        self.is_ready = True
        self.taken: list[asyncio.Protocol] = []
        self.accepting = Accepting(
            listener, self._make, counts=self.counts, number=0, count=lambda: len(self.taken),
            is_ready=lambda: self.is_ready, **changes,
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
