"""Who asks, as a verified token tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The bearer of a token."""

    subject: str  # Keycloak's id of the person or service account; what ledger and reviews keep
    name: str  # preferred_username, for people to read
    roles: frozenset[str]
    client: str  # azp: the client that the token was issued to
    cameras: tuple[str, ...] | None = (
        None  # whose frames it may send, * stands for anything; None: the token says nothing
    )


class TokenVerifier(Protocol):
    """Says whose token it is; knows nothing of routes."""

    def remembered(self, token: str) -> Identity | None:
        """The bearer of a token that was verified before and still counts; never waits for anything."""
        ...

    def verify(self, token: str) -> Identity:
        """The token's bearer.

        Raises:
            Problem: 401, with the reason in `code` (token_expired, wrong_audience, …); never the token itself.
            Transient: the keys cannot be fetched, and none that fits is known: fails closed.
        """
        ...
