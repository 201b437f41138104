from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from inference.domain.promotion import (
    AliasChange,
    Candidate,
    Demands,
    Judged,
    Settlement,
    alias_changes,
    refusal,
    settlement,
)

DIGEST = "a" * 64
GATE = "e" * 64
STRICT = Demands(gate_digest=GATE, is_any_set=False)
ANY_SET = Demands(gate_digest=GATE, is_any_set=True)


def a_candidate(**changes: Any) -> Candidate:
    return Candidate(**{"version": "2", "is_registered": True, "digest": DIGEST} | changes)


def judged(**changes: Any) -> Judged:
    return Judged(
        **{
            "is_pass": True,
            "digest": DIGEST,
            "champion": "1",
            "reasons": (),
            "gate_digest": GATE,
            "gate_set": "reviewed",
        }
        | changes
    )


def test_a_version_that_passed_against_the_present_champion_may_be_promoted() -> None:
    assert refusal(a_candidate(), champion="1", judged=judged(), demands=STRICT) is None
    assert refusal(a_candidate(), champion=None, judged=judged(champion=None), demands=STRICT) is None
    assert refusal(a_candidate(), champion="1", judged=None, demands=None) is None


@pytest.mark.parametrize(
    ("candidate", "verdict", "code"),
    [
        (a_candidate(is_registered=False, digest=""), judged(), "unknown_version"),
        (a_candidate(version="1"), judged(), "already_champion"),
        (a_candidate(digest=""), judged(), "digest_missing"),
        (a_candidate(digest="A" * 64), judged(), "digest_missing"),
        (a_candidate(), None, "gate_not_passed"),
        (a_candidate(), judged(is_pass=False), "gate_not_passed"),
        (a_candidate(), judged(digest="b" * 64), "gate_not_passed"),
        (a_candidate(), judged(champion="0"), "gate_not_passed"),
        (a_candidate(), judged(champion=None), "gate_not_passed"),
        (a_candidate(), judged(gate_digest="f" * 64), "gate_not_passed"),
        (a_candidate(), judged(gate_set="simulated"), "gate_not_passed"),
        (a_candidate(), judged(gate_set="labelled"), "gate_not_passed"),
        (a_candidate(), judged(gate_set=""), "gate_not_passed"),
    ],
)
def test_everything_else_is_refused_by_its_code(candidate: Candidate, verdict: Judged | None, code: str) -> None:
    refused = refusal(candidate, champion="1", judged=verdict, demands=STRICT)
    assert refused is not None
    assert refused.code == code
    without_the_gate = refusal(candidate, champion="1", judged=verdict, demands=None)
    assert (without_the_gate is None) == (code == "gate_not_passed")


def test_a_held_version_is_refused_with_the_gates_own_figures() -> None:
    held = judged(is_pass=False, reasons=("ap50 0.71 < 0.80", "recall of open 0.4 < 0.6"))
    refused = refusal(a_candidate(), champion="1", judged=held, demands=STRICT)
    assert refused is not None
    assert "ap50 0.71 < 0.80; recall of open 0.4 < 0.6" in refused.message


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (judged(gate_digest="f" * 64), r"another gate file.*without --gate: `sightline model gate 2`"),
        (judged(gate_set="simulated"), r"boards of the simulator.*without --boards.*: `sightline model gate 2`"),
        (judged(gate_set="labelled"), r"a folder that somebody named.*only the reviewed frames"),
        (judged(gate_set=""), r"a set that nobody wrote down"),
    ],
)
def test_a_pass_that_rests_on_something_else_says_what_to_run(verdict: Judged, words: str) -> None:
    refused = refusal(a_candidate(), champion="1", judged=verdict, demands=STRICT)
    assert refused is not None
    assert re.search(words, refused.message)


@pytest.mark.parametrize("verdict", [None, judged(is_pass=False), judged(gate_digest="f" * 64)])
def test_the_command_that_a_refusal_names_has_boards_only_where_any_set_counts(verdict: Judged | None) -> None:
    strict, lax = (
        refusal(a_candidate(), champion="1", judged=verdict, demands=demands) for demands in (STRICT, ANY_SET)
    )
    assert strict is not None
    assert strict.message.endswith("`sightline model gate 2`")
    assert lax is not None
    assert "`sightline model gate 2 --boards 100`" in lax.message


@pytest.mark.parametrize("kind", ["simulated", "labelled", ""])
def test_where_any_set_counts_the_gate_file_still_does(kind: str) -> None:
    assert refusal(a_candidate(), champion="1", judged=judged(gate_set=kind), demands=ANY_SET) is None
    lax = judged(gate_set=kind, gate_digest="f" * 64)
    assert refusal(a_candidate(), champion="1", judged=lax, demands=ANY_SET) is not None


def test_a_half_done_promotion_is_finished_only_when_its_alias_has_moved() -> None:
    assert settlement("2", "2") is Settlement.FINISH
    for elsewhere in ("1", "3", None):
        assert settlement("2", elsewhere) is Settlement.REVERT


def test_the_predecessors_alias_is_written_before_the_champions() -> None:
    assert alias_changes({"champion": "1", "challenger": "2"}, champion="2", previous="1") == [
        AliasChange(alias="previous_champion", was=None, version="1"),
        AliasChange(alias="champion", was="1", version="2"),
        AliasChange(alias="challenger", was="2", version=None),
    ]


@pytest.mark.parametrize("aliases", list(itertools.product([None, "1", "2", "3"], repeat=3)))
def test_whatever_the_aliases_were_one_round_makes_them_what_the_ledger_says(aliases: tuple[str | None, ...]) -> None:
    names = ("champion", "previous_champion", "challenger")
    found = {name: version for name, version in zip(names, aliases, strict=True) if version is not None}
    challenger = found.get("challenger")
    for change in alias_changes(found, champion="2", previous="1"):
        assert found.pop(change.alias, None) == change.was
        if change.version is not None:
            found[change.alias] = change.version
    kept = {"challenger": challenger} if challenger not in {None, "2"} else {}
    assert found == {"champion": "2", "previous_champion": "1"} | kept
    assert alias_changes(found, champion="2", previous="1") == []
