"""Logs are JSON events in the past tense with fields, once per batch, never per frame.

    log = get_logger(__name__)
    log.info("batch_inferred", frames=32, model_version="7", seconds=0.4)
    → {"at": "2026-01-02T03:04:05.678Z", "level": "info", "event": "batch_inferred", "frames": 32, ...}

Nothing is set up on import; `configure` is called once, in each __main__.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_SECRET_NAMES: Final = re.compile(r"password|secret|token|credential|authorization", re.IGNORECASE)
_URL_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")


def without_credentials(text: str) -> str:
    """The same text with user:password@ taken out of every URL in it."""
    return _URL_CREDENTIALS.sub("", text)


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = "***"
        elif isinstance(value, str):
            event[name] = without_credentials(value)
    return event


def configure(*, level: str = "INFO", as_json: bool = True, **fields: str) -> None:
    """Sets up structlog and the standard library's logging for this process, on stderr.

    Args:
        level: the least level that is written.
        as_json: one JSON object a line; False writes for a person at a terminal.
        fields: bound to every event, such as service="stream".
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer(sort_keys=False) if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in ("httpx", "httpx2"):  # they log every request at INFO
        logging.getLogger(library).setLevel("WARNING")
    structlog.contextvars.bind_contextvars(**fields)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry the module's name."""
    return structlog.stdlib.get_logger(name)
