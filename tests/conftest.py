"""Fixtures of all layers; everything else a test needs it imports from tests/support."""

from hypothesis import settings

from tests.support.keycloak import keycloak
from tests.support.stack import full_stack, stack

# A deadline would measure the machine's load, not the code.
settings.register_profile("sightline", deadline=None)
settings.load_profile("sightline")

__all__ = ["full_stack", "keycloak", "stack"]
