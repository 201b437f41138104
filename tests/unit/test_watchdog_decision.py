"""Rounds of the watchdog, as tables: what is seen, second by second, and what it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from connectors.connect_admin import Connector, TaskStatus
from connectors.watchdog.decision import (
    Kind,
    Observation,
    Rules,
    State,
    decide,
    is_the_stores_fault,
    not_restarted,
    signature_of,
)

BAD_ROW = "org.x.ConnectException: Exiting\n\tat y\nCaused by: org.p.PSQLException: ERROR: invalid byte sequence 0x00"
REFUSED = "org.x.ConnectException: Exiting\n\tat y\nCaused by: java.net.ConnectException: Connection refused"
RULES = Rules(same_failures=5)
CONFIG = {"topics": "frames"}


def sink(trace: str = "", *, state: str = "RUNNING", config: dict[str, str] | None = None) -> Connector:
    task = TaskStatus(task=0, state="FAILED" if trace else state, worker="w", trace=trace)
    return Connector(name="sink", config=config or CONFIG, state=state, tasks=(task,))


@dataclass
class Story:
    """Feeds observations to `decide` and keeps what came out."""

    state: State = field(default_factory=dict)
    at: float = 0.0

    def see(
        self,
        connector: Connector | None,
        *,
        progress: int | None = 100,
        away: tuple[str, ...] = (),
        after: float = 2.0,
        is_connect_up: bool = True,
    ) -> list[Kind]:
        self.at += after
        connectors = {"sink": connector} if connector else {}
        seen = Observation(
            at=self.at,
            connectors=connectors if is_connect_up else None,
            progress={"sink": progress},
            stores_away={"sink": away} if away else {},
        )
        self.state, actions = decide(self.state, seen, RULES, wanted=frozenset({"sink"}))
        return [action.kind for action in actions]

    def fail_until_quiet(self, trace: str = BAD_ROW, *, rounds: int = 100, progress: int = 100) -> list[Kind]:
        return [kind for _ in range(rounds) for kind in self.see(sink(trace), progress=progress)]


def test_a_healthy_connector_is_left_alone() -> None:
    story = Story()
    assert [story.see(sink()) for _ in range(3)] == [[], [], []]
    assert story.state == {}


def test_a_first_failure_is_restarted_at_once() -> None:
    assert Story().see(sink(BAD_ROW)) == [Kind.RESTART]


def test_the_same_failure_five_times_ends_the_restarts() -> None:
    assert Story().fail_until_quiet() == [Kind.RESTART] * 4 + [Kind.GIVE_UP]


def test_the_pauses_between_restarts_grow() -> None:
    story, restarts = Story(), []
    for _ in range(600):
        if Kind.RESTART in story.see(sink(BAD_ROW), after=0.1):
            restarts.append(story.at)
    pauses = [later - earlier for earlier, later in pairwise(restarts)]
    assert pauses == pytest.approx([1.1, 2.1, 4.1], abs=0.11)


def test_progress_in_between_begins_the_count_anew() -> None:
    story, kinds = Story(), []
    for progress in range(60):
        kinds += story.see(sink(BAD_ROW), progress=progress, after=40)
    assert set(kinds) == {Kind.RESTART}


def test_another_failure_begins_the_count_anew() -> None:
    story, kinds = Story(), []
    for _ in range(40):
        kinds += story.see(sink(f"org.x.E: {'ab'[len(kinds) % 2]} is wrong"), after=40)
    assert set(kinds) == {Kind.RESTART}


def test_numbers_and_ids_do_not_make_a_failure_another_one() -> None:
    one = "org.x.E: row 17 of 0198a5c2-7e10-7000-8000-000000000001 is wrong"
    other = "org.x.E: row 2048 of 0198a5c2-7e10-7abc-8000-0000000000ff is wrong"
    assert signature_of(one) == signature_of(other) != signature_of("org.x.E: row of x is wrong")


def test_a_store_that_is_away_is_waited_for_without_limit_and_restarted_as_soon_as_it_answers() -> None:
    story = Story()
    assert story.see(sink(BAD_ROW), away=("postgres",)) == [Kind.WAIT]
    assert [kind for _ in range(5000) for kind in story.see(sink(BAD_ROW), away=("postgres",))] == []
    assert story.see(sink(BAD_ROW)) == [Kind.RESTART]
    assert story.state["sink"].count == 0


def test_ten_outages_in_a_row_are_no_reason_to_give_up() -> None:
    story, kinds = Story(), []
    for _ in range(10):
        kinds += story.see(sink(REFUSED), away=("postgres",))
        kinds += story.see(sink(REFUSED), after=20)
    assert kinds == [Kind.WAIT, Kind.RESTART] * 10


def test_a_failure_before_the_store_was_seen_to_be_away_is_not_counted() -> None:
    story = Story()
    story.see(sink(BAD_ROW))
    story.see(sink(BAD_ROW), after=0.5)  # counted, its restart is due in a second
    assert story.state["sink"].count == 2
    assert story.see(sink(BAD_ROW), away=("postgres",), after=0.1) == [Kind.WAIT]
    assert story.state["sink"].count == 1


def test_what_connect_cannot_reach_is_waited_for_though_it_answers_to_us() -> None:
    assert set(Story().fail_until_quiet(REFUSED)) == {Kind.RESTART}


def test_restarts_against_an_outage_that_only_connect_sees_come_every_few_seconds() -> None:
    story = Story()
    restarts = [story.at for _ in range(300) if Kind.RESTART in story.see(sink(REFUSED), after=1)]
    assert 45 <= len(restarts) <= 80  # in 300 s


@pytest.mark.parametrize(
    "root",
    [
        "java.net.ConnectException: Connection refused",
        "org.postgresql.util.PSQLException: Connection to 127.0.0.1:5432 refused. Check that the hostname and port ...",
        "org.postgresql.util.PSQLException: This connection has been closed.",
        "org.postgresql.util.PSQLException: An I/O error occurred while sending to the backend.",
        "org.postgresql.util.PSQLException: The connection attempt failed.",
        "org.postgresql.util.PSQLException: FATAL: terminating connection due to administrator command",
        "org.postgresql.util.PSQLException: FATAL: the database system is starting up",
        "org.postgresql.util.PSQLException: FATAL: sorry, too many clients already",
        'org.postgresql.util.PSQLException: ERROR: could not extend file "base/1/2": No space left on device',
        "org.postgresql.util.PSQLException: ERROR: canceling statement due to lock timeout",
        "java.net.SocketTimeoutException: Read timed out",
        "java.net.SocketException: Connection reset",
        "java.io.EOFException",
        "java.sql.SQLException: Sorry, acquisition timeout!",
    ],
)
def test_an_outage_is_known_by_its_words(root: str) -> None:
    assert is_the_stores_fault(f"org.x.ConnectException: Exiting\n\tat y\nCaused by: {root}\n\tat z")


@pytest.mark.parametrize(
    "root",
    [
        'org.postgresql.util.PSQLException: FATAL: password authentication failed for user "sightline"',
        'org.postgresql.util.PSQLException: ERROR: relation "frames" does not exist',
        'org.postgresql.util.PSQLException: ERROR: invalid byte sequence for encoding "UTF8": 0x00',
        "org.apache.kafka.connect.errors.ConnectException: Could not find table frames",
        "java.lang.NullPointerException",
    ],
)
def test_what_a_person_must_mend_is_no_outage(root: str) -> None:
    wrapped = "org.hibernate.JDBCConnectionException: Unable to open connection: Connection failed"
    assert not is_the_stores_fault(f"org.x.ConnectException: Exiting\nCaused by: {wrapped}\nCaused by: {root}")


def test_a_person_who_restarts_it_has_it_looked_after_again() -> None:
    story = Story()
    story.fail_until_quiet()
    assert story.see(sink()) == [Kind.RECOVERED]
    assert story.fail_until_quiet() == [Kind.RESTART] * 4 + [Kind.GIVE_UP]


def test_a_changed_configuration_has_it_looked_after_again() -> None:
    story = Story()
    story.fail_until_quiet()
    assert story.see(sink(BAD_ROW, config={"topics": "others"})) == [Kind.RESTART]


def test_running_for_a_minute_forgets_earlier_failures() -> None:
    story = Story()
    story.see(sink(BAD_ROW))
    kinds = [kind for _ in range(31) for kind in story.see(sink())]
    assert kinds == [Kind.RECOVERED]
    assert story.state == {}


def test_running_for_a_moment_forgets_nothing() -> None:
    story, kinds = Story(), []
    for _ in range(5):
        seen = story.see(sink(BAD_ROW))
        kinds += seen or story.see(sink(BAD_ROW), after=10)
        kinds += story.see(sink(), after=10) if Kind.GIVE_UP not in kinds else []
    assert kinds == [Kind.RESTART] * 4 + [Kind.GIVE_UP]


def test_a_failed_connector_is_a_failure_like_a_failed_task() -> None:
    failed = Connector(name="sink", config=CONFIG, state="FAILED", trace=BAD_ROW)
    assert Story().see(failed) == [Kind.RESTART]


def test_what_a_person_paused_stays_paused() -> None:
    story = Story()
    story.see(sink(BAD_ROW))
    assert story.see(sink(state="PAUSED")) == []
    assert story.state == {}


def test_a_missing_connector_is_configured() -> None:
    assert Story().see(None) == [Kind.CONFIGURE]


def test_nothing_is_done_while_connect_is_away() -> None:
    story = Story()
    story.see(sink(BAD_ROW))
    before = story.state
    assert story.see(None, is_connect_up=False) == []
    assert story.state == before


def test_a_restart_that_could_not_be_asked_for_is_still_due_and_counts_once() -> None:
    story = Story()
    assert story.see(sink(BAD_ROW)) == [Kind.RESTART]
    story.state = not_restarted(story.state, "sink", at=story.at)
    assert story.see(sink(BAD_ROW)) == [Kind.RESTART]
    assert story.state["sink"].count == 1


def test_foreign_connectors_are_nobodys_business_here() -> None:
    theirs = Connector(name="theirs", config={}, state="FAILED", trace=BAD_ROW)
    seen = Observation(at=0.0, connectors={"theirs": theirs, "sink": sink()})
    assert decide({}, seen, RULES, wanted=frozenset({"sink"})) == ({}, ())
