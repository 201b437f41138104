"""LitServe: python -m tests.bench.peers.litserve_server PORT

Names of LitServe's that must be exact: setup, predict(self, x), decode_request(self, request). What `request` is
annotated with becomes the endpoint's parameter: like this FastAPI hands over the body's bytes as they are, and neither
base64 nor a form is paid for.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import litserve
from fastapi import Body

from tests.bench.peers.work import Work


class Detector(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.work = Work()

    def decode_request(self, request):
        return request

    def predict(self, x: Any) -> Any:
        return self.work(x)

    def encode_response(self, output: Any) -> Any:
        return output


# LitServe compares the annotation itself: it must not be the string that postponed annotations make of it.
Detector.decode_request.__annotations__ = {"request": Annotated[bytes, Body(media_type="image/jpeg")]}


if __name__ == "__main__":
    server = litserve.LitServer(Detector(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
