"""Signals are obeyed outside their handler: what they interrupt may hold the lock of what they set."""

from __future__ import annotations

import inspect
import signal
import threading

import pytest

import connectors.watchdog.__main__ as watchdog
import inference.stream.__main__ as stream
from connectors.signals import on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_event_whose_lock_the_interrupted_code_holds_is_set_all_the_same(number: signal.Signals):
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    stop = threading.Event()
    try:
        on_signals(stop.set)
        with stop._cond:  # as Event.wait holds it for moments; a handler that sets the event would hang here
            signal.raise_signal(number)
        assert stop.wait(10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize("process", [watchdog, stream])
def test_a_process_sets_no_event_in_a_handler_of_its_own(process: object):
    source = inspect.getsource(process)  # type: ignore[arg-type]
    assert "on_signals(" in source
    assert "signal.signal(" not in source
