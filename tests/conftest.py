"""Fixtures of all layers; everything else a test needs it imports from tests/support."""

import structlog
from hypothesis import settings

from tests.support.keycloak import keycloak
from tests.support.stack import full_stack, stack

# A deadline would measure the machine's load, not the code.
settings.register_profile("sightline", deadline=None)
settings.load_profile("sightline")

# structlog's own renderer prints every local variable of a traceback: half a minute where the application is one.
structlog.configure(
    processors=[
        structlog.stdlib.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

__all__ = ["full_stack", "keycloak", "stack"]
