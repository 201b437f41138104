from __future__ import annotations

import base64
import json
from importlib.resources import files
from typing import Any

import pytest

from contracts.validity import violation
from tests.support import validity_vectors

VECTORS = json.loads(files("contracts").joinpath("vectors/validity.json").read_text("utf-8"))


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"]) if "base64" in value else float(value["float"])
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['contract']}: {vector['name']}")
def test_rule_gives_the_vectors_outcome(vector: dict[str, Any]) -> None:
    record = {name: _value(value) for name, value in vector["record"].items()}
    found = violation(vector["contract"], record, key=vector["key"], broker_time_ms=vector["broker_timestamp_ms"])
    assert (found.code if found else "ok") == vector["outcome"]


def test_file_of_vectors_is_what_its_script_writes() -> None:
    assert VECTORS == validity_vectors.vectors()


def test_an_image_over_the_limit_is_too_large() -> None:
    image = b"x" * (4 * 1024 * 1024 + 1)
    import hashlib

    record = validity_vectors.frame(image=image, size_bytes=len(image), sha256=hashlib.sha256(image).hexdigest())
    found = violation("frames", record, key=record["camera_id"], broker_time_ms=validity_vectors.BROKER_MS)
    assert found is not None
    assert found.code == "too_large"
