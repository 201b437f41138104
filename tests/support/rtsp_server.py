"""A small RTSP camera: JPEG over RTP, interleaved in the RTSP connection, with a login, so that streams can be tested.

RFC 2326 (RTSP), RFC 2435 (JPEG over RTP). One track, TCP only: what OpenCV's FFmpeg asks for first.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
import time
from typing import Self

import numpy as np
import simplejpeg

CLOCK = 90_000  # RTP's for video
PAYLOAD_TYPE = 26  # JPEG
FRAGMENT = 1_400


class RtspCamera:
    """Serves moving stripes on rtsp://user:password@127.0.0.1:port/line until it is stopped."""

    def __init__(self, *, port: int = 0, user: str = "viewer", password: str = "s3cret-pass", fps: float = 20.0):
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        self.url = f"rtsp://{user}:{password}@127.0.0.1:{self.port}/line"
        self._fps = fps
        self._connections: set[socket.socket] = set()
        self._stopped = threading.Event()
        self.plays = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes the port and every connection, as a camera that loses its power."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        sending = threading.Lock()
        try:
            with connection, connection.makefile("rb") as requests:
                while request := self._read_request(requests):
                    method, url, headers = request
                    self._answer(connection, sending, method, url, headers)
                    if method == "PLAY":
                        self.plays += 1
                        threading.Thread(target=self._play, args=(connection, sending), daemon=True).start()
                    if method == "TEARDOWN":
                        return
        except OSError:
            return
        finally:
            self._connections.discard(connection)

    @staticmethod
    def _read_request(requests) -> tuple[str, str, dict[str, str]] | None:
        first = requests.read(1)
        while first == b"$":  # an interleaved packet of the client's (RTCP): skipped
            _, length = struct.unpack(">BH", requests.read(3))
            requests.read(length)
            first = requests.read(1)
        line = (first + requests.readline()).decode()
        if not line.strip():
            return None
        method, url, _ = line.split(" ", 2)
        headers = {}
        while (header := requests.readline().decode().strip()) != "":
            name, value = header.split(":", 1)
            headers[name.lower()] = value.strip()
        return method, url, headers

    def _answer(self, connection, sending, method: str, url: str, headers: dict[str, str]) -> None:
        lines = ["RTSP/1.0 200 OK", f"CSeq: {headers.get('cseq', '0')}"]
        body = ""
        if method != "OPTIONS" and headers.get("authorization") != f"Basic {self._login}":
            lines = ["RTSP/1.0 401 Unauthorized", lines[1], 'WWW-Authenticate: Basic realm="line"']
        elif method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=line\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
                f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=control:track1\r\n"
            )
            lines += [f"Content-Base: {url}/", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        else:
            lines.append("Session: 1")
        with sending:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _play(self, connection: socket.socket, sending: threading.Lock) -> None:
        sequence = 0
        frame = 0
        began = time.monotonic()
        while not self._stopped.is_set():
            jpeg = simplejpeg.encode_jpeg(stripes(frame), quality=90, colorspace="BGR", colorsubsampling="420")
            try:
                for packet in packets(jpeg, sequence, timestamp=int(frame * CLOCK / self._fps)):
                    with sending:
                        connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                    sequence += 1
            except OSError:
                return
            frame += 1
            time.sleep(max(0.0, began + frame / self._fps - time.monotonic()))


def stripes(frame: int) -> np.ndarray:
    """[240, 320, 3] uint8: vertical stripes that move four pixels a frame."""
    row = (np.arange(320) + 4 * frame) // 32 % 2 * 200 + 20
    return np.ascontiguousarray(np.broadcast_to(row.astype(np.uint8)[None, :, None], (240, 320, 3)))


def packets(jpeg: bytes, sequence: int, *, timestamp: int):
    """The RTP packets of one JPEG with the standard Huffman tables and 4:2:0 (RFC 2435, type 1)."""
    tables, width, height, scan = dissect(jpeg)
    for start in range(0, len(scan), FRAGMENT):
        fragment = scan[start : start + FRAGMENT]
        is_last = start + FRAGMENT >= len(scan)
        rtp = struct.pack(
            ">BBHII", 0x80, PAYLOAD_TYPE | (0x80 if is_last else 0), sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 7
        )
        header = struct.pack(">I", start) + bytes([1, 255, width // 8, height // 8])
        quantisation = struct.pack(">BBH", 0, 0, len(tables)) + tables if start == 0 else b""
        yield rtp + header + quantisation + fragment
        sequence += 1


def dissect(jpeg: bytes) -> tuple[bytes, int, int, bytes]:
    """Quantisation tables, width, height and the scan's bytes of a baseline JPEG."""
    tables, width, height, position = b"", 0, 0, 2
    while True:
        marker, length = struct.unpack_from(">xBH", jpeg, position)
        body = jpeg[position + 4 : position + 2 + length]
        if marker == 0xDB:
            tables += b"".join(body[at + 1 : at + 65] for at in range(0, len(body), 65))
        if marker == 0xC0:
            height, width = struct.unpack_from(">HH", body, 1)
        position += 2 + length
        if marker == 0xDA:
            return tables, width, height, jpeg[position : jpeg.rindex(b"\xff\xd9")]
