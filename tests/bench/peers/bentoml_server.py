"""BentoML: bentoml serve tests.bench.peers.bentoml_server:Detector

A positional-only argument is the whole body: raw bytes in, as a client of this service would send them.
"""

from __future__ import annotations

from typing import Any

import bentoml

from tests.bench.peers.work import Work


@bentoml.service(workers=1, threads=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Detector:
    def __init__(self) -> None:
        self.work = Work()

    @bentoml.api
    def predict(self, image: bytes, /) -> dict[str, Any]:
        return self.work(image)
