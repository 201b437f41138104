"""LitServe: python -m tests.bench.peers.litserve_server PORT BODY BATCH

BODY is raw, multipart or base64. Names of LitServe's that must be exact: decode_request(self, request).
"""

from __future__ import annotations

import base64
import sys
from typing import Annotated, Any

import litserve
from fastapi import Body

from tests.bench.peers.work import Work

Raw = Annotated[bytes, Body(media_type="image/jpeg")]  # FastAPI gives the body as it is; LitServe passes it on


class Detector(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.work = Work()

    def predict(self, x: Any) -> Any:
        return self.work.batch(x) if self.max_batch_size > 1 else self.work(x)

    def encode_response(self, output: Any) -> Any:
        return output


class OfBytes(Detector):
    def decode_request(self, request: Raw) -> bytes:
        return request


class OfForm(Detector):
    def decode_request(self, request: Any) -> bytes:
        return request["image"].file.read()


class OfBase64(Detector):
    def decode_request(self, request: Any) -> bytes:
        return base64.b64decode(request["image"])


OfForm.decode_request.__annotations__.clear()
OfBase64.decode_request.__annotations__.clear()
OfBytes.decode_request.__annotations__ = {"request": Raw}


if __name__ == "__main__":
    port, body, batch = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    kind = {"raw": OfBytes, "multipart": OfForm, "base64": OfBase64}[body]
    server = litserve.LitServer(
        kind(max_batch_size=batch, batch_timeout=0.01 if batch > 1 else 0.0),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue="zmq" in sys.argv,
    )
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning", access_log=False
    )
