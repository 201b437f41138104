"""The reference of the stream row: one process, one loop, no queue, no record. Prints frames per second.

python -m tests.bench.raw_loop MODEL_FOLDER IMAGE_FOLDER FRAMES
"""

from __future__ import annotations

import sys
import time
from itertools import cycle, islice
from pathlib import Path

from inference.domain.decode import Status, decode
from inference.engines import load


def main(model: Path, images: Path, frames: int) -> float:
    engine = load("openvino", model, threads=1)
    engine.warm_up()
    files = [file.read_bytes() for file in sorted(images.iterdir())]
    for data in islice(cycle(files), 20):
        _infer(engine, data)
    begin = time.perf_counter()
    for data in islice(cycle(files), frames):
        _infer(engine, data)
    rate = frames / (time.perf_counter() - begin)
    engine.close()
    return rate


def _infer(engine, data: bytes) -> None:
    image = decode(data, max_pixels=50_000_000)
    assert not isinstance(image, Status)
    engine.infer([image])


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
