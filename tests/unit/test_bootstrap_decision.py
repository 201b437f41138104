from __future__ import annotations

import pytest

from inference.registry.bootstrap import Decision, Known, decide

OURS, OLDER, THEIRS = "a" * 64, "b" * 64, "c" * 64


def demo(version: str, digest: str) -> Known:
    return Known(version=version, digest=digest, is_bootstrap=True)


def delivered(version: str, digest: str) -> Known:
    return Known(version=version, digest=digest, is_bootstrap=False)


@pytest.mark.parametrize(
    ("versions", "champion", "must_register", "must_point"),
    [
        ([], None, True, True),
        ([demo("1", OURS)], None, False, True),
        ([demo("1", OURS)], "1", False, False),
        ([demo("1", OLDER)], "1", True, True),
        ([demo("1", OLDER), demo("2", OURS)], "1", False, True),
        ([demo("1", OURS), demo("2", OLDER)], "2", False, True),
        ([demo("1", OLDER), delivered("2", THEIRS)], "2", True, False),
        ([demo("1", OLDER), delivered("2", THEIRS)], "1", True, False),
        ([demo("1", OURS), delivered("2", THEIRS)], "2", False, False),
        ([demo("1", OURS), delivered("2", THEIRS)], "1", False, False),
        ([], "8", True, True),
        ([delivered("2", THEIRS)], "8", True, False),
    ],
    ids=[
        "nothing there", "registered, then interrupted", "all done", "a newer demo model", "interrupted while moving",
        "an older checkout", "someone promoted", "someone delivered, the demo model serves", "rolled on, ours known",
        "ours serves beside a delivery", "MLflow lost everything", "the champion was deleted",
    ],
)  # fmt: skip
def test_only_the_bootstraps_own_champions_are_replaced(
    versions: list[Known], champion: str | None, must_register: bool, must_point: bool
) -> None:
    decision = decide(versions, champion, OURS)
    assert (decision.must_register, decision.must_point) == (must_register, must_point)


def test_a_champion_that_people_chose_is_not_replaced() -> None:
    versions = [demo("1", OLDER), demo("2", OURS)]
    assert decide(versions, "1", OURS).must_point
    assert not decide(versions, "1", OURS, is_chosen=True).must_point


def test_what_was_decided_says_why() -> None:
    assert decide([delivered("4", THEIRS)], "4", OURS) == Decision(
        must_register=True, must_point=False, reason="version 4 is the champion; promote another"
    )
