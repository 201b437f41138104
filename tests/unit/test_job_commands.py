"""Every command that Airflow runs is understood by who is asked: parsed by the real parser of the module that it names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import pytest
import typer

from inference.batch.__main__ import parser_of
from inference.delivery.training_plan import plan_of
from sightline.cli import app
from sightline_airflow import commands

FRAME = "0199f0a0-0000-7000-8000-000000000001"
SPAN = {"since": "2026-11-25T08:00:00+00:00", "until": "2026-11-25T09:00:00+00:00"}
TRAINING = {"folder": "/w/training", "labelled": "/w/labels", "minutes": 75, "side": 640, "batch": 32, "device": "cuda"}

EXAMPLES: dict[str, list[Sequence[str]]] = {
    "score": [
        commands.score(**SPAN, run_id="scheduled__1"),
        commands.score(
            **SPAN,
            run_id="manual__1",
            cameras=["line-1", "line-2"],
            model="7",
            only="all",
            shard=(FRAME, FRAME),
            is_explicit=True,
        ),
    ],
    "check": [commands.check(**SPAN)],
    "check_run": [commands.check_run("manual__1", **SPAN)],
    "drift": [commands.drift("2026-11-24")],
    "expire": [
        commands.expire(),
        commands.expire(days_of={"line-1": 30, "line-2": 7}, how="--dry-run"),
        commands.expire(how="--verify"),
    ],
    "watch": [commands.watch("12")],
    "export_labels": [commands.export_labels()],
    "fetch_labels": [commands.fetch_labels("ab" * 32, folder="/w/labels")],
    "evaluate": [commands.evaluate(), commands.evaluate("7", boards=60)],
    "gate": [commands.gate(run="3f", digest="ab" * 32)],
    "promote": [commands.promote("7", reason="better", approver_id="7f3a", approver_name="ada")],
    "train": [commands.train(**TRAINING, init=None), commands.train(**TRAINING, init="/w/best.pt")],
    "export": [commands.export(folder="/w/training", labelled="/w/labels", out="/w/model", name="boards")],
    "deliver": [commands.deliver("/")],
    "connectors_status": [commands.connectors_status()],
}
WITHOUT_RESULT = {"train", "export"}


def test_every_command_has_an_example() -> None:
    built = {
        name
        for name, function in inspect.getmembers(commands, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == commands.__name__
    }
    assert built == set(EXAMPLES)


@pytest.mark.parametrize(
    ("name", "words"),
    [(name, words) for name, examples in EXAMPLES.items() for words in examples],
    ids=[f"{name}-{place}" for name, examples in EXAMPLES.items() for place, _ in enumerate(examples)],
)
def test_every_job_command_is_accepted_by_its_module(name: str, words: Sequence[str]) -> None:
    python, flag, module, *rest = (*words, *(() if name in WITHOUT_RESULT else ("--result", "/tmp/result.json")))
    assert (python, flag) == ("python", "-m")
    if module == "inference.batch":
        parser, _ = parser_of(rest[0])
        parser.parse_args(rest[1:])
    else:
        assert module == "sightline.cli"
        parse_sightline(rest)


def test_a_command_that_no_module_knows_is_noticed() -> None:
    with pytest.raises(Exception, match="no-such-option"):
        parse_sightline(["model", "gate", "--no-such-option"])
    with pytest.raises(KeyError):
        parser_of("no-such-job")


def test_a_training_command_means_what_the_form_said() -> None:
    plan = plan_of(list(commands.train(**TRAINING, init=None))[5:])
    assert (str(plan.out), str(plan.labelled), plan.device, plan.batch) == ("/w/training", "/w/labels", "cuda", 32)


def test_a_versions_number_is_no_alias() -> None:
    by_number, by_alias = (commands.score(**SPAN, run_id="r", model=model) for model in ("12", "previous_champion"))
    assert "--version" in by_number
    assert "--alias" not in by_number
    assert by_alias[by_alias.index("--alias") + 1] == "previous_champion"


def parse_sightline(words: Sequence[str]) -> None:
    """Lets the command line read the words without running anything."""
    command = typer.main.get_command(app)
    context = command.make_context("sightline", list(words), resilient_parsing=False)
    while context._protected_args or context.args:
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None, f"no command {name}"
        context = found.make_context(name, rest, parent=context)
        command = found
        if not hasattr(found, "resolve_command"):
            break
    if name in {"train", "export"}:  # their options are their own module's
        own_parser(name)(list(context.args))


def own_parser(name: str) -> object:
    if name == "train":
        return plan_of
    from inference.delivery import export

    return export.parser().parse_args
