"""Every failure is one of three, and the edges only translate.

    PipelineError
      Transient      try again after retry_after   503   exit 75
      Rejected       bad input, park it            422   exit 65
      Misconfigured  a person must fix it          500   exit 78

A message says what happened and what to do next. It holds identifiers, never configuration values or secrets.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar


class PipelineError(Exception):
    """The root of all errors that Sightline raises on purpose."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70


class Transient(PipelineError):
    """Something we depend on is away or slow. Nothing is lost; the same call may succeed later."""

    http_status = 503
    exit_code = 75

    def __init__(self, message: str, *, retry_after: timedelta = timedelta(seconds=1)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(PipelineError):
    """The input itself is bad: trying again gives the same answer. It is parked with its reason."""

    http_status = 422
    exit_code = 65

    def __init__(self, message: str, *, code: str = "rejected") -> None:
        super().__init__(message)
        self.code = code


class Misconfigured(PipelineError):
    """A setting, a version or a permission is wrong: a person must change it before anything else helps."""

    http_status = 500
    exit_code = 78
