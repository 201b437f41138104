"""What a serving process does about a new champion or challenger, round by round, with a clock that stands still."""

from __future__ import annotations

import itertools

import pytest

from contracts.errors import Misconfigured, Rejected, Transient
from inference.registry.model_version import ModelVersion
from inference.serving.decision import Act, decide
from inference.serving.refusals import AGAIN_SECONDS
from inference.serving.served_models import Role, ServedModel
from inference.serving.watch import GRACE_SECONDS
from tests.support.served import Closable, FakeLoader, FakeWords, Watched

AWAY = Transient("Postgres is away")
MISMATCH = Rejected("sees something else", code="golden_mismatch")


@pytest.mark.parametrize(
    ("role", "named", "held", "others", "act"),
    [
        ("champion", "2", "1", {}, Act.LOAD),
        ("champion", "1", "1", {}, Act.KEEP),
        ("champion", "1", None, {}, Act.LOAD),
        ("champion", None, "1", {}, Act.KEEP),
        ("champion", "2", "1", {"refused": {"2"}}, Act.KEEP),
        ("challenger", "2", None, {"champions": {"1"}}, Act.LOAD),
        ("challenger", "2", "3", {"champions": {"1"}}, Act.LOAD),
        ("challenger", "2", "2", {}, Act.KEEP),
        ("challenger", None, "2", {}, Act.RELEASE),
        ("challenger", "1", "2", {"champions": {"1"}}, Act.RELEASE),
        ("challenger", "1", "1", {"champions": {"1"}}, Act.RELEASE),
        ("challenger", "3", "2", {"refused": {"3"}}, Act.RELEASE),
        ("challenger", "1", None, {"champions": {"1"}}, Act.KEEP),
        ("challenger", "3", None, {"refused": {"3"}}, Act.KEEP),
    ],
)
def test_the_decision_follows_its_table(role, named, held, others, act) -> None:  # type: ignore[no-untyped-def]
    decision = decide(role, named=named, held=held, **others)
    assert decision.act is act
    assert decision.version == (named if act is Act.LOAD else "")


def test_no_decision_ever_takes_a_champion_away_or_loads_what_is_held_or_refused() -> None:
    names = (None, "1", "2")
    for role, named, held, champion, refused in itertools.product(
        ("champion", "challenger"), names, names, names, names
    ):
        decision = decide(
            role,  # type: ignore[arg-type]
            named=named,
            held=held,
            champions=[champion] if champion else [],
            refused=[refused] if refused else [],
        )
        assert not (role == "champion" and decision.act is Act.RELEASE)
        if decision.act is Act.LOAD:
            assert decision.version == named != held
            assert named != refused
            assert role == "champion" or named != champion


def test_the_challenger_is_warm_beforehand_and_becomes_champion_without_being_loaded_again() -> None:
    watched = Watched(FakeWords(champion="1", challenger="2"))
    watched.round()
    assert watched.held() == ("1", "2")
    old, warm = watched.models.get("champion"), watched.models.get("challenger")
    assert old is not None
    assert warm is not None
    watched.words.named |= {"champion": "2", "challenger": None}
    watched.round()
    assert watched.held() == ("2", None)
    champion = watched.models.get("champion")
    assert champion is not None
    assert (champion.engine, champion.role) == (warm.engine, "champion")
    assert watched.loader.loaded == [("1", "champion"), ("2", "challenger")]
    assert isinstance(old.engine, Closable)
    assert old.engine.closed == 0  # warm, for a rollback
    assert watched.loader.kept == "2"


def test_a_challenger_stays_warm_between_the_loss_of_its_alias_and_the_ledgers_word() -> None:
    watched = Watched(FakeWords(champion="1", challenger="2"))
    watched.round()
    watched.words.named["challenger"] = None
    watched.round()
    watched.clock.now += GRACE_SECONDS - 0.1
    watched.round()
    assert watched.held() == ("1", "2")
    watched.words.named["champion"] = "2"
    watched.round()
    assert watched.loader.loaded == [("1", "champion"), ("2", "challenger")]


def test_a_challenger_that_nobody_names_any_more_is_released_in_the_end() -> None:
    watched = Watched(FakeWords(champion="1", challenger="2"))
    watched.round()
    watched.words.named["challenger"] = None
    watched.round()
    watched.clock.now += GRACE_SECONDS
    watched.round()
    assert watched.held() == ("1", None)


def test_a_rollback_loads_the_earlier_version() -> None:
    watched = Watched(FakeWords(champion="2"))
    watched.round()
    watched.words.named["champion"] = "1"
    watched.round()
    assert watched.held() == ("1", None)


@pytest.mark.parametrize("error", [AWAY, Misconfigured("MLflow refused")], ids=["away", "refuses us"])
def test_the_last_champion_serves_on_while_nobody_can_be_asked(error: Transient | Misconfigured) -> None:
    watched = Watched(FakeWords(champion="1", challenger="2"))
    watched.round()
    watched.words.named |= {"champion": error, "challenger": error}
    watched.round()
    assert watched.held() == ("1", "2")
    assert watched.watch.failure is None
    assert watched.watch.unheard("champion") == str(error)
    watched.words.named |= {"champion": "2", "challenger": None}
    watched.round()
    assert watched.held() == ("2", None)
    assert watched.watch.unheard("champion") is None


def test_a_start_without_the_ledger_serves_the_champion_of_the_cache_and_then_follows() -> None:
    watched = Watched(FakeWords(), FakeLoader(last="4"))
    watched.words.named |= {"champion": AWAY, "challenger": AWAY}
    watched.round()
    assert watched.held() == ("4", None)
    watched.words.named |= {"champion": "5", "challenger": None}
    watched.round()
    assert watched.held() == ("5", None)
    assert watched.loader.kept == "5"


def test_a_start_without_the_ledger_and_without_a_cache_waits() -> None:
    watched = Watched(FakeWords())
    watched.words.named["champion"] = AWAY
    watched.round()
    assert (watched.held(), watched.watch.failure) == ((None, None), None)


def test_a_start_that_is_refused_and_has_no_cache_fails() -> None:
    watched = Watched(FakeWords())
    watched.words.named["champion"] = error = Misconfigured("the login is refused")
    watched.round()
    assert watched.watch.failure is error


def test_before_there_is_a_champion_it_waits_and_loads_no_challenger() -> None:
    watched = Watched(FakeWords(challenger="2"), FakeLoader(last="9"))
    watched.round()
    assert (watched.held(), watched.watch.failure) == ((None, None), None)
    assert "sightline up" in (watched.watch.unheard("champion") or "")
    watched.words.named["champion"] = "1"
    watched.round()
    assert watched.held() == ("1", "2")


def test_the_champion_comes_first_however_long_it_takes() -> None:
    watched = Watched(FakeWords(champion="1", challenger="2"))
    watched.loader.unreachable["1"] = Transient("MLflow is away")
    watched.round()
    watched.round()
    assert (watched.held(), watched.loader.loaded) == ((None, None), [])
    watched.loader.unreachable.clear()
    watched.round()
    assert watched.loader.loaded == [("1", "champion"), ("2", "challenger")]


def test_a_champion_whose_files_cannot_be_had_yet_is_tried_again_while_the_old_one_serves() -> None:
    watched = Watched(FakeWords(champion="1"))
    watched.round()
    watched.loader.unreachable["2"] = Transient("MLflow is away")
    watched.words.named["champion"] = "2"
    watched.round()
    assert watched.held() == ("1", None)
    assert "MLflow is away" in str(watched.watch.refusal("champion"))
    watched.loader.unreachable.clear()
    watched.round()
    assert watched.held() == ("2", None)
    assert watched.watch.refusal("champion") is None


def test_a_start_serves_the_last_champion_while_the_named_ones_files_cannot_be_had() -> None:
    watched = Watched(FakeWords(champion="2"), FakeLoader(last="1"))
    watched.loader.unreachable["2"] = Transient("MLflow is away")
    watched.round()
    assert watched.held() == ("1", None)
    watched.loader.unreachable.clear()
    watched.round()
    assert watched.held() == ("2", None)


def test_a_start_serves_the_named_champion_out_of_the_cache_when_its_own_files_cannot_be_had_again() -> None:
    watched = Watched(FakeWords(champion="2"), FakeLoader(last="2"))
    watched.loader.unreachable["2"] = Transient("MLflow is away")
    watched.round()
    assert watched.held() == ("2", None)


def test_a_refused_champion_never_serves_is_told_and_tried_again_only_after_a_while() -> None:
    watched = Watched(FakeWords(champion="1"))
    watched.round()
    watched.loader.errors["2"] = MISMATCH
    watched.words.named["champion"] = "2"
    for _ in range(5):
        watched.round()
    assert watched.held() == ("1", None)
    assert watched.loader.loaded.count(("2", "champion")) == 1
    assert watched.watch.refusal("champion") is MISMATCH
    sample = watched.registry.get_sample_value
    assert sample("sightline_serving_is_refused", {"role": "champion"}) == 1
    labels = {"role": "champion", "reason": "golden_mismatch"}
    assert sample("sightline_serving_refused_total", labels) == 1
    del watched.loader.errors["2"]
    watched.clock.now += AGAIN_SECONDS
    watched.round()
    assert watched.held() == ("2", None)
    assert watched.watch.refusal("champion") is None
    assert sample("sightline_serving_is_refused", {"role": "champion"}) == 0


def test_a_refused_champion_is_forgotten_when_another_is_named() -> None:
    watched = Watched(FakeWords(champion="1"))
    watched.round()
    watched.loader.errors["2"] = MISMATCH
    watched.words.named["champion"] = "2"
    watched.round()
    watched.words.named["champion"] = "1"
    watched.round()
    assert watched.watch.refusal("champion") is None
    assert watched.registry.get_sample_value("sightline_serving_is_refused", {"role": "champion"}) == 0


def test_a_start_with_a_refused_champion_serves_the_last_one() -> None:
    watched = Watched(FakeWords(champion="2"), FakeLoader(last="1"))
    watched.loader.errors["2"] = MISMATCH
    watched.round()
    assert watched.held() == ("1", None)
    assert watched.watch.refusal("champion") is MISMATCH
    assert watched.watch.failure is None
    assert watched.loader.kept == "1"


def test_a_start_with_a_refused_champion_and_no_other_fails() -> None:
    watched = Watched(FakeWords(champion="2"), FakeLoader(last="2"))
    watched.loader.errors["2"] = MISMATCH
    watched.round()
    assert watched.held() == (None, None)
    assert watched.watch.failure is MISMATCH


def test_a_refused_challenger_leaves_the_champion_alone() -> None:
    watched = Watched(FakeWords(champion="1", challenger="2"))
    watched.loader.errors["2"] = MISMATCH
    for _ in range(3):
        watched.round()
    assert watched.held() == ("1", None)
    assert watched.loader.loaded.count(("2", "challenger")) == 1
    assert watched.watch.refusal("challenger") is MISMATCH
    assert watched.watch.refusal("champion") is None


def test_an_alias_challenger_that_names_the_champion_loads_nothing() -> None:
    watched = Watched(FakeWords(champion="1", challenger="1"))
    watched.round()
    watched.round()
    assert watched.held() == ("1", None)
    assert watched.loader.loaded == [("1", "champion")]


def test_a_shadow_holds_the_challenger_alone_and_rests_when_it_becomes_champion() -> None:
    watched = Watched(FakeWords(champion="1", challenger="2"), lead="challenger")
    watched.round()
    assert watched.held() == (None, "2")
    watched.words.named["champion"] = "2"  # the alias is still there
    watched.watch.follow_champion()
    assert watched.held() == (None, None)
    watched.round()
    assert watched.held() == (None, None)
    watched.words.named["challenger"] = "1"
    watched.round()
    assert watched.held() == (None, "1")
    watched.words.named["challenger"] = None
    watched.round()
    assert watched.held() == (None, None)


def test_a_shadow_that_does_not_know_the_champion_loads_nothing() -> None:
    watched = Watched(FakeWords(challenger="2"), lead="challenger")
    watched.words.named["champion"] = AWAY
    watched.round()
    assert watched.held() == (None, None)
    assert watched.watch.failure is None
    watched.words.named["champion"] = "1"
    watched.round()
    assert watched.held() == (None, "2")


def test_a_shadow_drops_a_challenger_that_became_champion_while_it_was_loaded() -> None:
    class Promoted(FakeLoader):
        def ready(self, version: ModelVersion, role: Role) -> ServedModel:
            watched.words.named["champion"] = version.version
            watched.watch.follow_champion()
            self.model = super().ready(version, role)
            return self.model

    loader = Promoted()
    watched = Watched(FakeWords(champion="1", challenger="2"), loader, lead="challenger")
    told: list[ServedModel | None] = []
    watched.models.on_change("challenger", told.append)
    watched.round()
    assert told == [None]
    assert isinstance(loader.model.engine, Closable)
    assert loader.model.engine.closed == 1
