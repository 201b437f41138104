"""Which routes ask for no token, written down beside the table so that nobody opens one in passing."""

from __future__ import annotations

from inference.api.permissions import PERMISSIONS

PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/assets/{name}"),
    ("GET", "/docs/oauth2-redirect"),
}
TICKET = {("GET", "/v1/images/{ticket}")}
GUARDED = sorted(set(PERMISSIONS) - PUBLIC - TICKET)
