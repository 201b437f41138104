from __future__ import annotations

import pytest

from inference.delivery.training_plan import Plan, Stage, plan_of


def a_plan(*words: str) -> Plan:
    return plan_of(["--out", "somewhere", *words])


def test_stages_follow_each_other_by_the_minute() -> None:
    plan = a_plan("--stages", "320:60,640:30.5")
    assert plan.stages == (Stage(side=320, minutes=60), Stage(side=640, minutes=30.5))
    assert plan.minutes == 90.5
    assert plan.largest == 640
    assert [plan.side_at(minutes * 60) for minutes in (0, 59.9, 60, 90, 200)] == [320, 320, 640, 640, 640]


def test_without_stages_there_is_one() -> None:
    assert a_plan("--max-minutes", "7", "--imgsz", "160").stages == (Stage(side=160, minutes=7),)


def test_the_command_is_kept_without_the_folders_of_one_machine() -> None:
    command = a_plan("--labelled", "/some/where/boards", "--seed", "3").command
    assert command == "python -m inference.delivery.train --out somewhere --labelled boards --seed 3"


def test_stages_that_are_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        a_plan("--stages", "320")
    assert "--stages" in capsys.readouterr().err


def test_a_data_set_and_a_folder_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert a_plan("--dataset", "s3://mlflow/datasets/pcb-defects/ab").dataset == "s3://mlflow/datasets/pcb-defects/ab"
    with pytest.raises(SystemExit):
        a_plan("--labelled", "boards", "--dataset", "s3://mlflow/datasets/pcb-defects/ab")
    assert "exclude each other" in capsys.readouterr().err
