"""Every failure is one of three, and the edges only translate.

    PipelineError
      Transient      try again after retry_after   503   exit 75
      Rejected       bad input, park it            422   exit 65
      Misconfigured  a person must fix it          500   exit 78

A message says what happened and what to do next, for who runs the service: logs and the command line show it. It holds no
secret, but may say where a neighbour is. A client of the service reads `public`: identifiers, never configuration.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar


class PipelineError(Exception):
    """The root of all errors that Sightline raises on purpose."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70

    def __init__(self, message: str = "", *, store: str = "", is_public: bool = False) -> None:
        """`store` names the neighbour that failed, as clients know it; `is_public`: the message itself is for them."""
        super().__init__(message)
        self.store = store
        self.is_public = is_public

    @property
    def public(self) -> str:
        """What a client may read of it."""
        if self.is_public:
            return str(self)
        return (
            f"{self.store or 'a store or a setting of the service'} does not fit: the service's log says what to mend"
        )


class Transient(PipelineError):
    """Something we depend on is away or slow. Nothing is lost; the same call may succeed later."""

    http_status = 503
    exit_code = 75

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta = timedelta(seconds=1),
        store: str = "",
        is_public: bool = False,
    ) -> None:
        super().__init__(message, store=store, is_public=is_public)
        self.retry_after = retry_after

    @property
    def public(self) -> str:
        """What a client may read of it."""
        if self.is_public:
            return str(self)
        return f"{self.store or 'something that the service needs'} is away or busy: try again"


class Rejected(PipelineError):
    """The input itself is bad: trying again gives the same answer. It is parked with its reason."""

    http_status = 422
    exit_code = 65

    def __init__(self, message: str, *, code: str = "rejected") -> None:
        super().__init__(message, is_public=True)  # it speaks of what the client sent
        self.code = code


class Misconfigured(PipelineError):
    """A setting, a version or a permission is wrong: a person must change it before anything else helps."""

    http_status = 500
    exit_code = 78
