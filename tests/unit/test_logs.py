from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from contracts import logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def test_an_event_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(service="stream")
    logs.get_logger("test").info("batch_inferred", frames=32)
    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["frames"], event["service"], event["level"]) == (
        "batch_inferred",
        32,
        "stream",
        "info",
    )


def test_no_secret_and_no_credentials_of_a_url_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger("test").info("opened", password="hunter2", source="rtsp://me:hunter2@127.0.0.1/1")
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert "rtsp://127.0.0.1/1" in written


def test_the_standard_librarys_loggers_are_written_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(service="stream")
    logging.getLogger("library").warning("slow %s", "answer")
    assert json.loads(capsys.readouterr().err)["event"] == "slow answer"
