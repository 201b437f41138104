"""A proxy for the world outside must not come between the commands and the stack."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sightline.stack.proxies import past_proxies

LOCAL = "127.0.0.1,localhost"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, LOCAL),
        ({"NO_PROXY": ".corp"}, f".corp,{LOCAL}"),
        ({"no_proxy": ".small", "NO_PROXY": ".large"}, f".small,{LOCAL}"),
        ({"no_proxy": "localhost, 127.0.0.1"}, "localhost,127.0.0.1"),
    ],
)
def test_loopback_is_excepted_in_both_spellings(given: dict[str, str], expected: str) -> None:
    assert past_proxies(given) == {"no_proxy": expected, "NO_PROXY": expected}


class NoRegistry(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - of the one server below

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_command_reaches_the_registry_past_a_proxy() -> None:
    server = HTTPServer(("127.0.0.1", 0), NoRegistry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": ".corp",
        "SIGHTLINE_REGISTRY__URL": f"http://127.0.0.1:{server.server_port}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "sightline.cli", "contracts", "diff"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    server.shutdown()
    server.server_close()
    assert NoRegistry.asked, done.stderr
