"""Promotions in a process of their own, killed with SIGKILL at a named step.

promote_and_die(settings, "2", at="after intend")      does not return before the process is dead
reconcile_and_die(settings, at="after champion")
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable

from contracts.settings import Settings
from inference.registry import promotion, settling

# A server that has imported MLflow once, from which every dying process is forked: seconds less for each.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["mlflow", "inference.registry.promotion", __name__])


def promote_and_die(settings: Settings, version: str, *, at: str) -> None:
    _die(_promote, settings, version, at)


def reconcile_and_die(settings: Settings, *, at: str) -> None:
    _die(_reconcile, settings, "", at)


def _die(act: Callable[[Settings, str], object], settings: Settings, version: str, at: str) -> None:
    process = _CONTEXT.Process(target=_run, args=(act, settings, version, at))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, f"it did not die at {at!r} but ended with {process.exitcode}"


def _run(act: Callable[[Settings, str], object], settings: Settings, version: str, at: str) -> None:
    def die(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    settling.step = die
    act(settings, version)


def _promote(settings: Settings, version: str) -> None:
    promotion.promote(settings, version, approved_by="somebody", reason="a test")


def _reconcile(settings: Settings, _version: str) -> None:
    promotion.reconcile(settings)
