"""`sightline model`: what is run where, what is shown, which exit codes; neighbours replaced."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.errors import Misconfigured
from inference.delivery.deliver import Delivered
from inference.persistence.gate_verdicts import Verdict
from sightline import train_environment
from sightline.cli import app
from tests.support.images import jpeg


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["model", *arguments])


def a_version(version: str, **changes: Any) -> dict[str, Any]:
    values = {"version": version, "digest": "ab" * 32, "licence": "AGPL-3.0", "is_champion": False, "aliases": []}
    return values | {"metrics": {"ap50": 0.9714}, "verdict": None, "replicas": []} | changes


def a_row(number: int, **changes: Any) -> dict[str, Any]:
    values = {"id": number, "version": "2", "previous_version": "1", "state": "done", "reason": "finds more"}
    times = {"requested_at": "2026-01-02T03:04:05Z", "done_at": "2026-01-02T03:04:06Z"}
    return values | times | {"approved_by": "a-subject", "approved_by_name": "approver"} | changes


class Asked:
    """The API's answers by path, and what was asked."""

    def __init__(self, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answers = answers
        monkeypatch.setattr("connectors.api_client.Api._ask", self.answer)

    def answer(self, method: str, path: str, **rest: Any) -> Any:
        self.calls.append((f"{method} {path}", rest.get("json") or rest.get("params")))
        return self.answers[path]


def test_every_command_of_the_design_is_there() -> None:
    names = "train evaluate export deliver list gate promote rollback history"
    answer = run("--help")
    assert all(name in answer.output for name in names.split())


def test_training_without_torch_says_how_to_make_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_environment, "find_spec", lambda _: None)
    monkeypatch.setattr(train_environment, "ROOT", tmp_path)
    with pytest.raises(Misconfigured, match=r"UV_PROJECT_ENVIRONMENT=\.venv-train uv sync --frozen --group train"):
        train_environment.python()
    (tmp_path / ".venv-train/bin").mkdir(parents=True)
    (tmp_path / ".venv-train/bin/python").touch()
    assert train_environment.python() == str(tmp_path / ".venv-train/bin/python")


def test_an_environment_that_has_torch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_environment, "find_spec", lambda name: name)
    assert train_environment.python() == sys.executable


@pytest.mark.parametrize(
    ("arguments", "module", "needs_torch"),
    [
        (("train", "--out", "x", "--max-minutes", "3"), "inference.delivery.train", True),
        (("export", "x", "--out", "y"), "inference.delivery.export", True),
        (("evaluate", "x", "--json"), "inference.delivery.evaluate", False),
        (("evaluate", "x", "--engine", "torch"), "inference.delivery.evaluate", True),
    ],
)
def test_options_are_passed_on_and_the_exit_code_comes_back(
    arguments: tuple[str, ...], module: str, needs_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(train_environment, "run", lambda name, given, **how: ran.append((name, given, how)) or 65)
    assert run(*arguments).exit_code == 65
    assert ran == [(module, list(arguments[1:]), {"needs_torch": needs_torch})]


def test_help_of_a_training_needs_no_torch(capfd: pytest.CaptureFixture[str]) -> None:
    assert train_environment.run("inference.delivery.train", ["--help"]) == 0
    assert "--max-minutes" in capfd.readouterr().out


def test_versions_are_listed_with_role_verdict_and_what_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"verdict": "hold", "reasons": ["open: recall 0.26, floor 0.85"]}
    items = [a_version("2", verdict=held, aliases=["challenger"]), a_version("1", is_champion=True)]
    asked = Asked({"/v1/models": {"model": "pcb-defects", "champion": "1", "items": items}}, monkeypatch)
    shown = run("list").output
    assert "challenger" in shown
    assert "champion" in shown
    assert "0.971" in shown
    assert "2: open: recall 0.26, floor 0.85" in shown
    assert json.loads(run("list", "--json").output) == asked.answers["/v1/models"]


def test_the_ledger_is_shown_with_who_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked({"/v1/promotions": {"items": [a_row(3)], "next": None}}, monkeypatch)
    shown = run("history", "--limit", "5").output
    assert all(word in shown for word in ("approver", "finds more", "2026-01-02T03:04:06"))
    assert asked.calls == [("GET /v1/promotions", {"limit": 5})]


def test_a_promotion_needs_a_reason_and_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked({"/v1/models/2/promote": a_row(3)}, monkeypatch)
    assert run("promote", "2").exit_code == 2
    answer = run("promote", "2", "--reason", "finds more")
    assert answer.output == "version 2 is champion instead of 1 (row 3 of the ledger)\n"
    assert asked.calls == [("POST /v1/models/2/promote", {"reason": "finds more"})]


def test_a_job_names_the_person_and_keeps_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked({"/v1/models/2/promote": a_row(3)}, monkeypatch)
    named = ("--on-behalf-of-id", "7f3a", "--on-behalf-of-name", "ada")
    kept = tmp_path / "new/row.json"
    assert run("promote", "2", "--reason", "finds more", *named, "--result", str(kept)).exit_code == 0
    body = {"reason": "finds more", "on_behalf_of": {"id": "7f3a", "name": "ada"}}
    assert asked.calls == [("POST /v1/models/2/promote", body)]
    assert json.loads(kept.read_text()) == a_row(3)
    assert run("promote", "2", "--reason", "finds more", *named[:2]).exit_code == 2
    assert run("promote", "2", "--reason", "finds more", *named[2:]).exit_code == 2


def test_a_rollback_leaves_the_champion_unless_a_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"/v1/models": {"champion": "2"}, "/v1/models/2/rollback": a_row(4, version="1", previous_version="2")}
    asked = Asked(answers, monkeypatch)
    assert "version 1 is champion instead of 2" in run("rollback", "--reason", "worse").output
    run("rollback", "2", "--reason", "worse")
    assert [call for call, _ in asked.calls] == ["GET /v1/models", *["POST /v1/models/2/rollback"] * 2]


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("hold", 99)])
def test_the_gates_exit_code_is_its_verdict(outcome: Any, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Verdict(
        model="pcb-defects", version="2", model_digest="a" * 64, champion_version="1", verdict=outcome,
        reasons=("mAP50-95 0.1",), figures={}, dataset_digest="d" * 64, gate_digest="e" * 64,
    )  # fmt: skip
    monkeypatch.setattr("inference.delivery.gate.judge", lambda *_, **__: said)
    answer = run("gate", "2", "--boards", "1")
    assert answer.exit_code == code
    assert f"{outcome}: version 2 of pcb-defects\n  mAP50-95 0.1" in answer.output
    assert json.loads(run("gate", "--boards", "1", "--json").output)["verdict"] == outcome


def test_the_gate_takes_as_many_boards_as_the_form_of_its_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def simulated(boards: int) -> None:
        drawn.append(boards)
        raise Misconfigured("nothing is judged here")

    monkeypatch.setattr("inference.delivery.gate_set.simulated", simulated)
    refused = run("gate", "2", "--boards", "10001")
    assert (refused.exit_code, drawn) == (2, [])
    assert "less than or equal to 10000" in " ".join(refused.output.replace("│", " ").split())
    run("gate", "2", "--boards", "10000")
    assert drawn == [10_000]


def test_a_run_and_its_digest_go_together() -> None:
    assert run("gate", "--run", "abc").exit_code == 2


def test_a_delivery_draws_its_curves_on_the_images_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "images/a.jpg").write_bytes(jpeg())
    (tmp_path / "labels/a.txt").write_text("1 2 30 40 1\n")
    drawn_on: list[int] = []

    def delivered(_settings: Any, _folder: Path, *, held_out: Any, api: Any, say: Any) -> Delivered:
        say("registering")
        drawn_on.append(len(list(held_out)))
        return Delivered(version="7", digest="ab" * 32, is_new=True, role="challenger", latencies=())

    monkeypatch.setattr("inference.delivery.deliver.deliver", delivered)
    assert "next: sightline model gate 7" in run("deliver", str(tmp_path), "--labelled", str(tmp_path)).output
    answer = run("deliver", str(tmp_path), "--boards", "2", "--json")
    assert json.loads(answer.stdout)["version"] == "7"
    assert "registering" in answer.stderr
    assert drawn_on == [1, 2]
