from __future__ import annotations

import threading

from connectors.cameras.pace import Pace


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, _stop: threading.Event, seconds: float) -> None:
        self.now += seconds


def due_times(time: Time, pace: Pace, frames: int, work: float = 0.0) -> list[float]:
    found = []
    for _ in range(frames):
        pace.wait(threading.Event())
        found.append(round(time.now - 100.0, 6))
        time.now += work
    return found


def test_frames_are_due_by_the_schedule_whatever_the_work_costs():
    time = Time()
    pace = Pace(10, clock=lambda: time.now, sleep=time.sleep)
    assert due_times(time, pace, 6, work=0.03) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_short_delay_is_made_up_for():
    time = Time()
    pace = Pace(10, clock=lambda: time.now, sleep=time.sleep)
    due_times(time, pace, 1)
    time.now += 0.35
    assert due_times(time, pace, 5) == [0.35, 0.35, 0.35, 0.4, 0.5]


def test_after_a_long_pause_there_is_no_burst():
    time = Time()
    pace = Pace(10, clock=lambda: time.now, sleep=time.sleep)
    due_times(time, pace, 3)
    time.now += 60
    first, second, third = due_times(time, pace, 3)
    assert first == 60.2
    assert (round(second - first, 6), round(third - second, 6)) == (0.1, 0.1)


def test_without_a_rate_nobody_waits():
    time = Time()
    assert due_times(time, Pace(None, clock=lambda: time.now, sleep=time.sleep), 100) == [0.0] * 100


def test_a_stop_ends_the_wait():
    stop = threading.Event()
    stop.set()
    pace = Pace(0.001)
    pace.wait(stop)
    pace.wait(stop)  # would else be due in 1000 s
