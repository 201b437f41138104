"""Tickets, cursors, byte ranges: what clients carry back must be ours."""

from __future__ import annotations

import base64
import threading
import time
from contextlib import suppress
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connectors.dead_letters import CONSUMERS
from contracts.identifiers import new_id
from contracts.settings import ApiSettings
from inference.api import cursors
from inference.api.problems import Problem
from inference.api.recent import Recent
from inference.api.routes.dead_letters import Consumer
from inference.api.stored_image import byte_range
from inference.api.tickets import LENGTH, Tickets
from tests.support.rows import now

FRAME = new_id(now())


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.5

    def __call__(self) -> float:
        return self.at


def tickets(clock: Clock, key: str = "k" * 32) -> Tickets:
    return Tickets(ApiSettings(ticket_key=SecretStr(key)), clock=clock)


def refusal(ours: Tickets, ticket: str) -> tuple[int, str]:
    with pytest.raises(Problem) as refused:
        ours.frame_of(ticket)
    return refused.value.status, refused.value.code


def test_a_ticket_opens_its_frame_for_a_minute_in_every_process_with_the_key() -> None:
    clock = Clock()
    ticket = tickets(clock).issue(FRAME)
    assert len(ticket) == LENGTH
    clock.at += 59
    assert tickets(clock).frame_of(ticket) == FRAME
    clock.at += 2
    assert refusal(tickets(clock), ticket) == (403, "ticket_expired")


def test_a_ticket_of_another_key_is_forged() -> None:
    clock = Clock()
    assert refusal(tickets(clock), tickets(clock, "other").issue(FRAME)) == (403, "ticket_forged")


def test_without_a_key_each_process_believes_itself_only() -> None:
    one, other = tickets(Clock(), ""), tickets(Clock(), "")
    assert one.frame_of(one.issue(FRAME)) == FRAME
    assert refusal(other, one.issue(FRAME)) == (403, "ticket_forged")


@given(st.integers(0, 55), st.integers(1, 255))
def test_a_ticket_with_any_changed_byte_is_forged(position: int, change: int) -> None:
    ours = tickets(Clock())
    whole = bytearray(base64.urlsafe_b64decode(ours.issue(FRAME) + "="))
    whole[position] ^= change
    assert refusal(ours, base64.urlsafe_b64encode(whole).decode().rstrip("=")) == (403, "ticket_forged")


@given(st.text(max_size=120))
def test_no_text_is_taken_for_a_ticket(text: str) -> None:
    assert refusal(tickets(Clock()), text) == (403, "ticket_forged")


def test_cursors_come_back_as_they_went() -> None:
    assert cursors.frame_of(cursors.after_frame(FRAME)) == FRAME
    assert cursors.review_of(cursors.after_review(12)) == 12
    assert cursors.letters_of(cursors.after_letters(dict.fromkeys(CONSUMERS, 3))) == dict.fromkeys(CONSUMERS, 3)
    assert (cursors.frame_of(None), cursors.review_of(None), cursors.letters_of(None)) == (None, None, {})


def bad_cursors() -> list[str]:
    texts = ['["f",null]', '["f",1]', '["f","x"]', '["r","1"]', '["r",true]', '["r",-1]', '["r",1e400]', '["d",[1]]']
    texts += ['["d",{"stream":"1"}]', '["d",{"A b":1}]', '["r",' + "9" * 300 + "]", "[" * 300, "{}", "1", "\xff"]
    texts += ['["f","ffffffff-ffff-7fff-bfff-ffffffffffff"]']
    return [base64.urlsafe_b64encode(text.encode("latin-1")).decode() for text in texts]


@pytest.mark.parametrize("cursor", [*bad_cursors(), "", "*", "é", "a", "\ud800"])
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    for read in (cursors.frame_of, cursors.review_of, cursors.letters_of):
        with pytest.raises(Problem) as refused:
            read(cursor)
        assert (refused.value.status, refused.value.code) == (422, "bad_cursor")


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda some: base64.urlsafe_b64encode(some).decode()))
def test_no_text_breaks_a_cursor(text: str) -> None:
    for read in (cursors.frame_of, cursors.review_of, cursors.letters_of):
        with suppress(Problem):
            read(text)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-9", (0, 9)),
        ("bytes=90-", (90, 99)),
        ("bytes=90-500", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=-500", (0, 99)),
        ("bytes=0-0", (0, 0)),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 30 + "-", None),
        ("bytes=٣-٤", None),
    ],
)
def test_one_range_is_understood_anything_else_is_the_whole(header: str | None, wanted: object) -> None:
    assert byte_range(header, 100) == wanted


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_is_refused(header: str) -> None:
    with pytest.raises(Problem) as refused:
        byte_range(header, 100)
    assert refused.value.status == 416
    assert refused.value.headers["Content-Range"] == "bytes */100"


def test_the_address_names_every_consumer() -> None:
    assert set(get_args(Consumer)) == set(CONSUMERS)


def test_many_askers_ask_once_and_an_error_is_not_kept() -> None:
    clock, asked = Clock(), []
    recent: Recent[int] = Recent(2.0, clock=clock)

    def fail() -> int:
        raise ValueError("away")

    with pytest.raises(ValueError, match="away"):
        recent.get(fail)
    for _ in range(3):
        assert recent.get(lambda: asked.append(1) or len(asked)) == 1  # type: ignore[func-returns-value]
    clock.at += 3
    assert recent.get(lambda: 7) == 7


def test_who_waits_for_a_slow_answer_takes_it_and_does_not_ask_again() -> None:
    clock = Clock()
    asked: list[int] = []
    answers: list[str] = []
    recent: Recent[str] = Recent(2.0, clock=clock)
    is_asking, may_answer, all_there = threading.Event(), threading.Event(), threading.Barrier(5)

    def ask() -> str:
        asked.append(1)
        is_asking.set()
        assert may_answer.wait(10)
        clock.at += 5  # longer than an answer is kept
        return "the pipeline"

    def get() -> None:
        all_there.wait(10)
        answers.append(recent.get(ask))

    threads = [threading.Thread(target=get) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert is_asking.wait(10)
    time.sleep(0.05)  # without the lock, the others ask in this time
    may_answer.set()
    for thread in threads:
        thread.join(10)
    assert (answers, len(asked)) == (["the pipeline"] * 5, 1)
