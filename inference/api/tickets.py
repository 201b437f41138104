"""Image tickets: whoever has one may fetch one frame's image for a minute, without a token.

    issue(frame_id) ──► base64url(frame id 16 bytes │ expiry 8 bytes │ HMAC-SHA256 of both 32 bytes)
    frame_of(ticket) ──► frame_id, or 403 ticket_expired | ticket_forged

Browsers load images without the access token, and a link that is passed on is worth little after a minute. All
processes of an installation share the key, for one issues what another is asked with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Final

from contracts.settings import ApiSettings
from inference.api.problems import Problem

PATH: Final = "/v1/images/"
LENGTH: Final = 75  # characters

_SIGNED: Final = 24  # bytes
_WHOLE: Final = _SIGNED + hashlib.sha256().digest_size


class Tickets:
    """Signs and reads them."""

    def __init__(self, settings: ApiSettings, *, clock: Callable[[], float] = time.time) -> None:
        key = settings.ticket_key.get_secret_value().encode()
        self._key = key or secrets.token_bytes(32)  # alone in its process, and gone with it
        self._seconds = settings.ticket_seconds
        self._clock = clock

    def url(self, frame_id: str) -> str:
        """Where the image is for the next minute, relative to the API."""
        return PATH + self.issue(frame_id)

    def issue(self, frame_id: str) -> str:
        """A ticket for one frame."""
        expires = int(self._clock()) + self._seconds
        signed = uuid.UUID(frame_id).bytes + expires.to_bytes(8, "big")
        return base64.urlsafe_b64encode(signed + self._signature(signed)).rstrip(b"=").decode()

    def frame_of(self, ticket: str) -> str:
        """The frame that a ticket opens.

        Raises:
            Problem: 403, it is too old or was not signed here.
        """
        try:
            whole = base64.b64decode(ticket.encode("ascii") + b"=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise _forged() from error
        signed, signature = whole[:_SIGNED], whole[_SIGNED:]
        if len(whole) != _WHOLE or not hmac.compare_digest(signature, self._signature(signed)):
            raise _forged()
        if int.from_bytes(signed[16:], "big") < self._clock():
            raise Problem(403, "ticket_expired", "this link was good for a minute only: ask for the frame again")
        return str(uuid.UUID(bytes=signed[:16]))

    def _signature(self, signed: bytes) -> bytes:
        return hmac.new(self._key, b"image ticket\0" + signed, hashlib.sha256).digest()


def _forged() -> Problem:
    return Problem(
        403, "ticket_forged", "this link was not made here, or before the key changed: ask for the frame again"
    )
