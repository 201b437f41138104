"""The stream worker with a fake engine that sees six things in every image: predictions as heavy as the demo model's."""

import numpy as np

from inference.domain.detections import Detections
from inference.engines import fake_engine
from inference.engines.fake_engine import FakeEngine
from inference.stream.__main__ import main

SEEN = Detections(
    labels=("open", "short", "mousebite", "spur", "copper", "pin-hole"),
    confidences=np.linspace(0.9, 0.4, 6, dtype=np.float32),
    boxes=np.tile(np.array([1, 2, 30, 40], np.float32), (6, 1)),
)

fake_engine.load = lambda _folder, **_: FakeEngine(detections=SEEN)

if __name__ == "__main__":
    raise SystemExit(main())
