"""What all contenders of a row share: model, images, tokens, the peers' programs, and what must be found."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from connectors.cameras.boards import encode_jpeg, simulate_board
from inference.domain.decode import Status, decode
from inference.engines import load
from tests.bench.environment import bench_environment
from tests.bench.harness import ROOT
from tests.bench.load import Target
from tests.bench.servers import Server
from tests.bench.stage import THE_REST, model_at
from tests.support.key_server import key_server
from tests.support.tokens import Realm

SIDE: Final = 640  # pixels
IMAGES: Final = 20
_PIXELS_APART: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One row's."""

    engine: str  # openvino | fake
    model: Path
    images: Sequence[Path]
    expected: Sequence[Sequence[float]]  # boxes in the first image
    programs: Path  # of the peers' environment
    folder: Path  # for the contenders' files
    realm: Realm
    keys_url: str

    @property
    def environment(self) -> dict[str, str]:
        """For every peer: what to run, and that nothing is sent to anybody."""
        return {
            "BENCH_ENGINE": self.engine,
            "BENCH_MODEL_FOLDER": str(self.model),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "DO_NOT_TRACK": "1",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(self.folder / "bentoml"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def target(self, url: str, headers: Mapping[str, str]) -> Target:
        return Target(url=url, headers=headers, bodies=self.images)

    def wrapped(self, name: str, wrap: Callable[[str], object]) -> list[Path]:
        """The images as base64 in JSON, in a folder of that name."""
        folder = self.folder / name
        folder.mkdir()
        bodies = []
        for image in self.images:
            bodies.append(folder / f"{image.stem}.json")
            bodies[-1].write_text(json.dumps(wrap(base64.b64encode(image.read_bytes()).decode())))
        return bodies

    def check(self, server: Server) -> None:
        """A server that skips work would win."""
        found = server.first_answer
        assert len(found) == len(self.expected), (
            f"{server.contender.name}: {len(found)} boxes, not {len(self.expected)}"
        )
        if found:
            apart = float(np.abs(np.array(found) - np.array(self.expected)).max())
            assert apart < _PIXELS_APART, f"{server.contender.name}: boxes are {apart:.1f} px off"


@contextmanager
def a_field(folder: Path, *, engine: str) -> Iterator[Field]:
    """Puts this process, and the load it will start, on the core that is not measured."""
    programs = bench_environment()
    os.sched_setaffinity(0, THE_REST)
    model = model_at(SIDE, folder / "model")
    images = folder / "images"
    images.mkdir()
    for index in range(IMAGES):
        (images / f"{index:02}.jpg").write_bytes(encode_jpeg(simulate_board(seed=77, index=index, size=SIDE)))
    ordered = sorted(images.iterdir())
    realm = Realm()
    with key_server(realm) as keys_url:
        yield Field(
            engine=engine,
            model=model,
            images=ordered,
            expected=_boxes(engine, model, ordered[0]),
            programs=programs,
            folder=folder,
            realm=realm,
            keys_url=keys_url,
        )


def _boxes(kind: str, model: Path, image: Path) -> list[list[float]]:
    engine = load(kind, model, threads=1)
    try:
        pixels = decode(image.read_bytes(), max_pixels=SIDE * SIDE)
        assert not isinstance(pixels, Status)
        boxes: list[list[float]] = engine.infer([pixels])[0].boxes.tolist()
    finally:
        engine.close()
    assert boxes or kind == "fake", "the demo model finds nothing in the first image"
    return boxes
