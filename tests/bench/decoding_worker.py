"""The stream worker with a fake engine that asks for pixels: what the platform costs with the image's decoding."""

from inference.engines import fake_engine
from inference.engines.fake_engine import FakeEngine
from inference.stream.__main__ import main

fake_engine.load = lambda _folder, **_: FakeEngine(needs_pixels=True)

if __name__ == "__main__":
    raise SystemExit(main())
