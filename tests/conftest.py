"""Fixtures of all layers; everything else a test needs it imports from tests/support."""

from tests.support.stack import stack

__all__ = ["stack"]
