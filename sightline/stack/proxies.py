"""The stack's own addresses are never asked for through a proxy.

    {http_proxy: ..., no_proxy: .corp} ──► {no_proxy: .corp,127.0.0.1,localhost, NO_PROXY: the same}

Both spellings, for where both are set the libraries read the small one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NAMES: Final = ("no_proxy", "NO_PROXY")
_LOCAL: Final = ("127.0.0.1", "localhost")


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """What to set in an environment so that loopback is reached directly; what it excepts already stays so."""
    given = next((environment[name] for name in _NAMES if environment.get(name)), "")
    known = [host.strip() for host in given.split(",") if host.strip()]
    excepted = ",".join([*known, *(host for host in _LOCAL if host not in known)])
    return dict.fromkeys(_NAMES, excepted)
