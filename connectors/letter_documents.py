"""Dead letters and their replay as JSON documents: what the command line prints and the API answers."""

from __future__ import annotations

import hashlib
from typing import Any

from connectors.dead_letters import DeadLetter
from connectors.replay import Outcome
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.errors import Rejected
from contracts.records import RECORD_TYPES
from contracts.settings import Settings


def summary(letter: DeadLetter) -> dict[str, Any]:
    """Who refused what, why, and where it came from."""
    return {
        "id": letter.id,
        "consumer": letter.consumer,
        "code": letter.code,
        "reason": letter.reason,
        "origin": {
            "topic": letter.origin_topic,
            "partition": letter.origin_partition,
            "offset": letter.origin_offset,
        },
        "stage": letter.stage,
        "exception": letter.exception,
        "refused_at": letter.refused_at.isoformat(),
        "key": _readable(letter.key),
        "size_bytes": len(letter.payload or b""),
        "replayed_from": letter.replayed_from,
    }


def whole(settings: Settings, letter: DeadLetter) -> dict[str, Any]:
    """The summary, the headers, and the decoded record without its image, or why it cannot be decoded.

    Raises:
        Transient: the registry is away.
    """
    return summary(letter) | {"headers": _headers(letter)} | _contents(settings, letter)


def _contents(settings: Settings, letter: DeadLetter) -> dict[str, Any]:
    """The decoded record, or why it cannot be decoded and how its bytes begin."""
    payload = letter.payload or b""
    about: dict[str, Any] = {"sha256_of_value": hashlib.sha256(payload).hexdigest()}
    registry = SchemaRegistry(settings.registry)
    try:
        if letter.origin_topic not in RECORD_TYPES:
            raise Rejected(f"its origin {letter.origin_topic!r} is no topic of ours")  # noqa: TRY301 - one way out
        record = Codec(registry).decode(letter.origin_topic, letter.payload)
    except Rejected as error:
        return about | {"record": None, "undecodable": str(error), "begins_with": payload[:64].hex(" ")}
    finally:
        registry.close()
    image = record.pop("image", None)
    if image is not None:
        about["image"] = {"size_bytes": len(image), "sha256": hashlib.sha256(image).hexdigest()}
    return about | {"record": record}


def _headers(letter: DeadLetter) -> dict[str, str | None]:
    return {name: _readable(value) for name, value in letter.headers}


def _readable(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", errors="backslashreplace")


def outcome_of(outcome: Outcome) -> dict[str, Any]:
    """What became of a replay."""
    return {
        "id": outcome.letter,
        "is_replayed": outcome.is_replayed,
        "reason": outcome.reason,
        "topic": outcome.topic,
        "partition": outcome.partition,
        "offset": outcome.offset,
    }
