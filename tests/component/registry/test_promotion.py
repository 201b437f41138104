"""Promotions on a real MLflow server and a real Postgres, with kill -9 at every step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from contracts.errors import Rejected, Transient
from contracts.settings import Settings
from inference.api.reconciler import Reconciler
from inference.persistence import connect, ledger
from inference.persistence.ledger import Approval, Promotion
from inference.registry import mlflow_client, promotion, settling
from inference.registry.promotion import promote, reconcile, rollback, set_challenger, unset_challenger
from tests.support.mlflow_server import MlflowServer
from tests.support.models import a_version, aliases, champion, judged
from tests.support.promoting import promote_and_die, reconcile_and_die
from tests.support.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn

STEPS_BEFORE_THE_ALIAS_MOVES = ["before intend", "after intend", "after previous_champion"]
STEPS_AFTER_IT = ["after champion", "after challenger", "before finish", "after finish"]
OLD = {"champion": "1", "previous_champion": None}
NEW = {"champion": "2", "previous_champion": "1"}


def states(settings: Settings) -> list[tuple[str, str]]:
    with connect(settings) as connection:
        rows = ledger.history(connection, settings.mlflow.model_name, limit=50)
    return [(row.version, row.state) for row in reversed(rows)]


def roles(settings: Settings) -> dict[str, str | None]:
    found = aliases(settings)
    return {alias: found.get(alias) for alias in ("champion", "previous_champion")}


def move_by_hand(settings: Settings, alias: str, version: str) -> None:
    mlflow_client.connect(settings).set_registered_model_alias(settings.mlflow.model_name, alias, version)


def promote_by(settings: Settings, version: str) -> Promotion:
    return promote(settings, version, approved_by="7f3a", approved_by_name="ada", reason="better on rims")


def test_a_promotion_is_in_the_ledger_and_in_the_aliases_and_says_who_approved_it(settings: Settings) -> None:
    set_challenger(settings, "2")
    done = promote_by(settings, "2")
    assert (done.version, done.previous_version, done.state) == ("2", "1", "done")
    assert (done.approved_by, done.approved_by_name, done.reason) == ("7f3a", "ada", "better on rims")
    assert done.done_at is not None
    assert done.requested_at <= done.done_at
    assert aliases(settings) == {"champion": "2", "previous_champion": "1"}
    assert champion(settings) == "2"
    tags = mlflow_client.connect(settings).get_model_version(settings.mlflow.model_name, "2").tags
    assert (tags["promoted"], tags["approved_by"]) == (str(done.id), "ada")
    assert tags["approved_at"] == done.requested_at.isoformat()
    assert reconcile(settings) == []


def test_the_challenger_of_another_version_stays(settings: Settings) -> None:
    set_challenger(settings, "3")
    promote_by(settings, "2")
    assert aliases(settings)["challenger"] == "3"


def test_a_rollback_leads_to_the_predecessor_without_asking_the_gate(settings: Settings) -> None:
    promote_by(settings, "2")
    back = rollback(settings, approved_by="watch_window", reason="p99 over budget", leaving="2")
    assert (back.version, back.previous_version, back.approved_by) == ("1", "2", "watch_window")
    assert roles(settings) == {"champion": "1", "previous_champion": "2"}
    assert states(settings) == [("1", "done"), ("2", "done"), ("1", "done")]


@pytest.mark.parametrize(
    ("version", "verdict", "code", "why"),
    [
        ("4", None, "unknown_version", "no version 4"),
        ("two", None, "unknown_version", "no version two"),
        ("99999999999999999999", None, "unknown_version", "no version 9"),
        ("1", {}, "already_champion", "the champion already"),
        ("2", {"verdict": "hold", "reasons": ("recall of open 0.71 < 0.80",)}, "gate_not_passed", "recall of open"),
        ("2", {"verdict": "refused", "reasons": ("frame f1 is in both",)}, "gate_not_passed", "frame f1"),
        ("2", {"champion_version": "3"}, "gate_not_passed", "compared version 2 with version 3"),
        ("2", {"champion_version": None}, "gate_not_passed", "with no champion"),
        ("2", {"model_digest": "0" * 64}, "gate_not_passed", "other files"),
    ],
)
def test_what_may_not_become_champion_is_refused_and_leaves_no_trace(
    settings: Settings, version: str, verdict: dict[str, object] | None, code: str, why: str
) -> None:
    if verdict is not None:
        judged(settings, version, **verdict)
    with pytest.raises(Rejected, match=why) as refused:
        promote_by(settings, version)
    assert refused.value.code == code
    assert (states(settings), roles(settings)) == ([("1", "done")], OLD)


def test_a_version_that_the_gate_never_saw_or_without_a_digest_is_refused(settings: Settings) -> None:
    a_version(settings, "4")
    with pytest.raises(Rejected, match="has not seen version 4") as unseen:
        promote_by(settings, "4")
    a_version(settings, "5", digest="none")
    judged(settings, "5")
    with pytest.raises(Rejected, match="deliver the model again") as undigested:
        promote_by(settings, "5")
    assert (unseen.value.code, undigested.value.code) == ("gate_not_passed", "digest_missing")


def test_a_pass_against_an_earlier_champion_does_not_do(settings: Settings) -> None:
    promote_by(settings, "2")
    with pytest.raises(Rejected, match="the champion is version 2 now"):
        promote_by(settings, "3")


def test_a_rollback_is_refused_where_there_is_nothing_to_leave_or_to_go_to(settings: Settings) -> None:
    with pytest.raises(Rejected) as first:
        rollback(settings, approved_by="ada", reason="no")
    with pytest.raises(Rejected, match="version 1 is") as other:
        rollback(settings, approved_by="ada", reason="no", leaving="2")
    assert (first.value.code, other.value.code) == ("no_previous_champion", "not_champion")
    assert states(settings) == [("1", "done")]


def test_a_challenger_is_a_known_version_other_than_the_champion(settings: Settings) -> None:
    for version, code in (("1", "already_champion"), ("9", "unknown_version")):
        with pytest.raises(Rejected) as refused:
            set_challenger(settings, version)
        assert refused.value.code == code
    set_challenger(settings, "3")
    set_challenger(settings, "3")
    assert aliases(settings)["challenger"] == "3"
    with pytest.raises(Rejected, match="version 3 is") as other:
        unset_challenger(settings, leaving="2")
    assert other.value.code == "not_challenger"
    unset_challenger(settings, leaving="3")
    unset_challenger(settings)
    assert "challenger" not in aliases(settings)


@pytest.mark.parametrize("step", STEPS_BEFORE_THE_ALIAS_MOVES)
def test_killed_before_the_alias_moved_the_old_champion_stays(settings: Settings, step: str) -> None:
    set_challenger(settings, "2")
    promote_and_die(settings, "2", at=step)
    assert champion(settings) == "1"  # what serving processes follow, even before anybody mends it
    reconcile(settings)
    assert (champion(settings), roles(settings)) == ("1", OLD)
    assert aliases(settings)["challenger"] == "2"
    assert states(settings) == [("1", "done")] + [("2", "reverted")] * (step != "before intend")
    assert reconcile(settings) == []
    assert promote_by(settings, "2").state == "done"  # nothing is left that would keep it from being asked again


@pytest.mark.parametrize("step", STEPS_AFTER_IT)
def test_killed_after_the_alias_moved_the_new_champion_comes(settings: Settings, step: str) -> None:
    set_challenger(settings, "2")
    promote_and_die(settings, "2", at=step)
    assert champion(settings) == ("2" if step == "after finish" else "1")
    reconcile(settings)
    assert (champion(settings), aliases(settings)) == ("2", NEW)
    assert states(settings) == [("1", "done"), ("2", "done")]
    assert reconcile(settings) == []
    assert rollback(settings, approved_by="ada", reason="a test").version == "1"


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        ("after previous_champion", "before revert", "1"),
        ("after previous_champion", "after revert", "1"),
        ("after previous_champion", "after previous_champion put back", "1"),
        ("after champion", "after challenger", "2"),
        ("after champion", "before finish", "2"),
        ("after champion", "after finish", "2"),
    ],
)
def test_who_mends_may_be_killed_as_well(settings: Settings, first: str, second: str, end: str) -> None:
    set_challenger(settings, "2")
    promote_and_die(settings, "2", at=first)
    reconcile_and_die(settings, at=second)
    reconcile(settings)
    assert (champion(settings), roles(settings)) == (end, OLD if end == "1" else NEW)
    assert {state for _, state in states(settings)} <= {"done", "reverted"}
    assert reconcile(settings) == []


def test_the_next_promotion_mends_what_a_killed_one_left(settings: Settings) -> None:
    promote_and_die(settings, "2", at="after previous_champion")
    promote_by(settings, "3")
    assert states(settings) == [("1", "done"), ("2", "reverted"), ("3", "done")]
    assert roles(settings) == {"champion": "3", "previous_champion": "1"}


def test_of_two_at_once_one_waits_and_is_judged_against_the_new_champion(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, waiting = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "after intend" and not begun.is_set():
            begun.set()
            waiting.wait(10)

    monkeypatch.setattr(settling, "step", hold)
    ended: dict[str, object] = {}
    first = start(ended, "first", lambda: promote_by(settings, "2"))
    assert begun.wait(60)
    second = start(ended, "second", lambda: promote_by(settings, "3"))
    assert_waits_for_the_lock(settings)
    assert reconcile(settings) == []  # leaves it to who is at work
    waiting.set()
    first.join(60)
    second.join(60)
    assert isinstance(ended["first"], Promotion)
    assert isinstance(ended["second"], Rejected)
    assert ended["second"].code == "gate_not_passed"
    assert (champion(settings), roles(settings)) == ("2", NEW)


def test_who_waits_too_long_is_told_that_another_is_under_way(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "PATIENCE", timedelta(seconds=0.2))
    with connect(settings, autocommit=True) as another:
        assert ledger.try_lock(another)
        for act in (lambda: promote_by(settings, "2"), lambda: set_challenger(settings, "2")):
            with pytest.raises(Rejected, match="under way") as refused:
                act()
            assert refused.value.code == "promotion_under_way"
    assert promote_by(settings, "2").state == "done"


def test_ten_at_once_end_with_one_champion_and_whole_rows(settings: Settings) -> None:
    ended: dict[str, object] = {}
    threads = [start(ended, str(n), lambda n=n: promote_by(settings, "23"[n % 2])) for n in range(10)]
    for thread in threads:
        thread.join(120)
    done = [one for one in ended.values() if isinstance(one, Promotion)]
    refused = [one for one in ended.values() if isinstance(one, Rejected)]
    assert (len(done), len(done) + len(refused)) == (1, 10)
    assert champion(settings) == done[0].version
    assert roles(settings) == {"champion": done[0].version, "previous_champion": "1"}
    assert states(settings) == [("1", "done"), (done[0].version, "done")]


def test_an_alias_moved_by_hand_is_reported_and_put_back(settings: Settings) -> None:
    move_by_hand(settings, "champion", "3")
    move_by_hand(settings, "previous_champion", "3")
    assert champion(settings) == "1"
    assert reconcile(settings) == [
        "alias previous_champion put back to nobody, where the ledger has it; it was at version 3",
        "alias champion put back to version 1, where the ledger has it; it was at version 3",
    ]
    assert roles(settings) == OLD
    assert reconcile(settings) == []


def test_an_alias_that_was_taken_away_comes_back(settings: Settings) -> None:
    mlflow_client.connect(settings).delete_registered_model_alias(settings.mlflow.model_name, "champion")
    reconcile(settings)
    assert roles(settings) == OLD


def test_a_champion_that_was_deleted_in_mlflow_is_reported_and_can_be_replaced(settings: Settings) -> None:
    mlflow_client.connect(settings).delete_model_version(settings.mlflow.model_name, "1")
    said = ["alias champion belongs to version 1, which was deleted in MLflow"]
    assert (reconcile(settings), reconcile(settings)) == (said, said)
    assert promote_by(settings, "2").previous_version == "1"
    assert aliases(settings)["champion"] == "2"
    with pytest.raises(Rejected) as refused:
        rollback(settings, approved_by="ada", reason="back")
    assert refused.value.code == "unknown_version"


def test_nothing_is_reconciled_where_there_is_no_ledger_yet(empty: Settings) -> None:
    assert reconcile(empty) == []
    a_version(empty, "1")
    move_by_hand(empty, "champion", "1")
    assert reconcile(empty) == []
    assert aliases(empty) == {"champion": "1"}


@pytest.mark.parametrize(("step", "end"), [("after intend", "1"), ("after champion", "2")])
def test_mlflow_going_away_in_the_middle_is_told_and_ends_as_old_or_new(
    settings: Settings, mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch, step: str, end: str
) -> None:
    set_challenger(settings, "2")  # one more alias to write after the champion's
    monkeypatch.setattr(settling, "step", lambda name: mlflow.stop() if name == step else None)
    try:
        with pytest.raises(Transient, match=r"half-done.*finished or taken back when MLflow"):
            promote_by(settings, "2")
        assert states(settings)[-1] == ("2", "intended")
        assert champion(settings) == "1"
        for act in (lambda: reconcile(settings), lambda: promote_by(settings, "2")):
            with pytest.raises(Transient, match="MLflow"):
                act()
    finally:
        mlflow.start()
    monkeypatch.setattr(settling, "step", lambda name: None)
    assert reconcile(settings)
    assert (champion(settings), roles(settings)) == (end, OLD if end == "1" else NEW)


def test_a_row_that_another_settled_cannot_be_settled_again(empty: Settings) -> None:
    with connect(empty, autocommit=True) as connection:
        approval = Approval(by="ada", reason="a test")
        row = ledger.intend(connection, "m", "2", previous_version="1", approval=approval)
        with pytest.raises(Transient, match="another promotion of m is under way"):
            ledger.intend(connection, "m", "3", previous_version="1", approval=approval)
        assert ledger.revert(connection, row).state == "reverted"
        for act in (ledger.finish, ledger.revert):
            with pytest.raises(Transient, match="settled by another process"):
                act(connection, row)
        assert ledger.champion_of(connection, "m") is None
        assert ledger.under_way(connection, "m") is None


def test_several_reconcilers_mend_what_a_killed_process_left(settings: Settings) -> None:
    promote_and_die(settings, "2", at="after champion")
    reconcilers = [Reconciler(settings, seconds=0.1) for _ in range(3)]
    for one in reconcilers:
        one.start()
    try:
        eventually(lambda: champion(settings) == "2", seconds=20)
        move_by_hand(settings, "champion", "3")
        eventually(lambda: roles(settings) == NEW, seconds=20)
    finally:
        for one in reconcilers:
            one.close()
    assert states(settings) == [("1", "done"), ("2", "done")]


def test_a_promotion_that_lost_its_lock_cannot_make_its_row_count(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(name: str) -> None:
        if name == "before finish":
            with psycopg.connect(settings.postgres.conninfo, autocommit=True) as another:
                another.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )

    monkeypatch.setattr(settling, "step", lose)
    with pytest.raises(Transient, match="half-done"):
        promote_by(settings, "2")
    assert champion(settings) == "1"
    monkeypatch.setattr(settling, "step", lambda name: None)
    assert reconcile(settings) == ["promotion 2 of version 2 was half-done and is finished: its alias had moved"]
    assert (champion(settings), roles(settings)) == ("2", NEW)


def start(ended: dict[str, object], name: str, act: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            ended[name] = act()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            ended[name] = error

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def assert_waits_for_the_lock(settings: Settings) -> None:
    """Until another connection waits for an advisory lock."""
    with connect(settings, autocommit=True) as connection:
        for _ in range(500):
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            [(count,)] = connection.execute(query).fetchall()
            if count:
                return
            connection.execute("SELECT pg_sleep(0.02)")
    raise AssertionError("nobody waits")
