"""sightline model train | evaluate | export | quantise | deliver | gate | list | promote | rollback | history | reconcile

train, evaluate, export   run where torch is; their options are their own (--help)
deliver FOLDER            a trained model becomes the challenger
gate [VERSION]            is it good enough? exit 0 pass, 99 hold, 65 refused
promote, rollback         through the API, in the name of who is logged in
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from inference.batch.job import HOLD

if TYPE_CHECKING:
    from connectors.api_client import Api
    from contracts.settings import Settings
    from inference.delivery.gate_set import GateSet
    from inference.persistence.gate_verdicts import Verdict

_MOST_BOARDS: Final = 10_000  # as in the form of promote_model
_PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; progress on stderr.")]
ResultFile = Annotated[Path | None, typer.Option("--result", help="Write the answer, JSON, into this file.")]
Labelled = Annotated[
    Path | None, typer.Option(help="A folder with images/*.jpg and labels/*.txt.", exists=True, file_okay=False)
]

commands = typer.Typer(no_args_is_help=True, help="Models: train, deliver, judge, promote, roll back.")


def register(app: typer.Typer) -> None:
    """Adds `sightline model`."""
    app.add_typer(commands, name="model")


@commands.command(context_settings=_PASSED_ON)
def train(context: typer.Context) -> None:
    """Trains; stopped at any moment, the same command goes on. Options: sightline model train --help."""
    _run("inference.delivery.train", context.args, needs_torch=True)


@commands.command(context_settings=_PASSED_ON)
def evaluate(context: typer.Context) -> None:
    """Evaluates a model folder on boards that training did not see. Options: sightline model evaluate --help."""
    _run("inference.delivery.evaluate", context.args, needs_torch=any("torch" in one for one in context.args))


@commands.command(context_settings=_PASSED_ON)
def export(context: typer.Context) -> None:
    """Turns a training into a folder that can be delivered. Options: sightline model export --help."""
    _run("inference.delivery.export", context.args, needs_torch=True)


def _run(module: str, arguments: list[str], *, needs_torch: bool) -> None:
    from sightline import train_environment

    raise typer.Exit(train_environment.run(module, arguments, needs_torch=needs_torch))


@commands.command()
def quantise(
    folder: Annotated[Path, typer.Argument(help="What `export` wrote; it is changed.", exists=True, file_okay=False)],
    *,
    calibrate: Annotated[
        Path | None, typer.Option(help="A labelled folder to calibrate on; simulated boards without.", file_okay=False)
    ] = None,
    labelled: Labelled = None,
    boards: Annotated[int, typer.Option(min=0, help="Compare on so many boards of the seed gate set.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Adds an int8 graph for OpenVINO, if its mAP on the gate set is within 0.3 points of float32's. Before `deliver`.

    Exit code 99 when it is not: then the model is delivered without.
    """
    from inference.delivery import gate_set as sets
    from inference.delivery import quantise as quantising

    settings = _settings()
    calibration = sets.labelled(calibrate) if calibrate else quantising.calibration_boards()
    images = [pixels for _, pixels in calibration.seen()][: quantising.CALIBRATION_BOARDS]
    compared_on = _gate_set(settings, labelled, boards)
    parity = quantising.quantise(folder, images, compared_on, say=_say(as_json=as_json))
    if as_json:
        _print_json(asdict(parity) | {"is_passed": parity.is_passed})
    else:
        words = "is used" if parity.is_passed else "is NOT used: more than 0.3 points worse"
        print(f"mAP50-95 {parity.map50_95:.4f} in float32, {parity.map50_95_int8:.4f} in int8, which {words}")
    raise typer.Exit(0 if parity.is_passed else HOLD)


@commands.command()
def deliver(
    folder: Annotated[Path, typer.Argument(help="What `export` wrote.", exists=True, file_okay=False)],
    *,
    labelled: Labelled = None,
    boards: Annotated[int, typer.Option(min=0, help="Simulated boards for the curves, without --labelled.")] = 60,
    result: ResultFile = None,
    as_json: AsJson = False,
) -> None:
    """Examines a model, registers it and makes it the challenger. Interrupted: deliver it again.

    The curves in MLflow are drawn on --labelled, or on simulated boards that training did not see.
    """
    from connectors.api_client import Api
    from inference.delivery import gate_set
    from inference.delivery.deliver import deliver as delivered
    from inference.delivery.evaluate import held_out_boards

    settings = _settings()
    named = gate_set.labelled(labelled).images if labelled else ()
    held_out = ((one.read(), one.truth) for one in named) if labelled else held_out_boards(boards)
    with Api(settings) as api:
        answer = delivered(settings, folder, held_out=held_out, api=api, say=_say(as_json=as_json))
    if result is not None:
        _hand_over(asdict(answer), result)
    if as_json:
        _print_json(asdict(answer))
    elif answer.role == "challenger":
        print(f"next: sightline model gate {answer.version}")


@commands.command()
def gate(
    version: Annotated[str | None, typer.Argument(help="To judge; the challenger without.")] = None,
    *,
    labelled: Labelled = None,
    boards: Annotated[
        int, typer.Option(min=0, max=_MOST_BOARDS, help="Judge on so many boards of the seed gate set.")
    ] = 0,
    thresholds: Annotated[Path | None, typer.Option("--gate", help="The gate file; the committed one without.")] = None,
    evaluate_only: Annotated[
        bool, typer.Option("--evaluate-only", help="Measure, and leave the verdict open.")
    ] = False,
    run: Annotated[str | None, typer.Option(help="Decide on the evaluation in this run; needs --digest.")] = None,
    digest: Annotated[str | None, typer.Option(help="Of the evidence, as --evaluate-only printed it.")] = None,
    result: ResultFile = None,
    as_json: AsJson = False,
) -> None:
    """Judges a version against the champion and the gate file, on images that no training saw.

    The images are the reviewed frames of gate blocks, or those named. Without options its pass opens a promotion; whether one
    on named images does is the service's setting. Exit code 0: it passes. 99: hold. 65: refused, the
    evidence cannot be trusted. 75: try again. 78: misconfigured.
    """
    from inference.delivery import gate as gates
    from inference.registry.gate_files import gate_file

    if (run is None) is not (digest is None):
        raise typer.BadParameter("--run and --digest go together", param_hint="--run")
    settings, say = _settings(), _say(as_json=as_json)
    held_against = gate_file(settings, thresholds)
    if run is not None and digest is not None:
        _end(gates.decide_on_run(settings, run, digest, held_against), result=result, as_json=as_json)
    gate_set = _gate_set(settings, labelled, boards)
    if evaluate_only:
        _hand_over(_evaluated(settings, gate_set, held_against, version, say), result)
        return
    _end(gates.judge(settings, gate_set, held_against, version=version, say=say), result=result, as_json=as_json)


def _evaluated(
    settings: Settings, gate_set: GateSet, held_against: Any, version: str | None, say: Callable[[str], None]
) -> dict[str, Any]:
    import tempfile

    from inference.delivery import gate as gates

    with tempfile.TemporaryDirectory(prefix="sightline-gate-") as scratch:
        made = gates.evaluate(settings, gate_set, held_against, version=version, folder=Path(scratch), say=say)
    return {"run": made.run_id, "digest": made.evidence_digest, **asdict(made.subject)}


def _gate_set(settings: Settings, labelled: Path | None, boards: int) -> GateSet:
    from inference.delivery import gate_set
    from inference.delivery.reviewed import reviewed

    if labelled is not None:
        return gate_set.labelled(labelled)
    return gate_set.simulated(boards) if boards else reviewed(settings)


def _end(verdict: Verdict, *, result: Path | None, as_json: bool) -> None:
    """Shows the verdict and ends with its exit code."""
    document = {key: value for key, value in asdict(verdict).items() if key != "decided_at"}
    if result is not None:
        _hand_over(document, result)
    if as_json:
        _print_json(document)
    else:
        print(f"{verdict.verdict}: version {verdict.version} of {verdict.model}")
        print("\n".join(f"  {reason}" for reason in verdict.reasons))
    raise typer.Exit(0 if verdict.verdict == "pass" else HOLD)


@commands.command("list")
def list_versions(*, as_json: AsJson = False) -> None:
    """Shows every version: who is champion, what the gate said, who serves it."""
    from sightline import model_tables

    answer = _ask("/v1/models")
    _print_json(answer) if as_json else print(model_tables.versions(answer))


@commands.command()
def history(
    *, limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20, as_json: AsJson = False
) -> None:
    """Shows the ledger: who was made champion when, by whom and why. The newest first."""
    from sightline import model_tables

    answer = _ask("/v1/promotions", limit=limit)
    _print_json(answer) if as_json else print(model_tables.promotions(answer))


@commands.command()
def promote(
    version: Annotated[str, typer.Argument(help="It must have passed the gate against the present champion.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
    on_behalf_of_id: Annotated[
        str | None, typer.Option(help="For jobs: subject of the person who approved it.")
    ] = None,
    on_behalf_of_name: Annotated[str | None, typer.Option(help="For jobs: the person's name.")] = None,
    result: ResultFile = None,
    as_json: AsJson = False,
) -> None:
    """Makes a version champion. Needs the role approver; the account of jobs names the person who approved it."""
    if (on_behalf_of_id is None) is not (on_behalf_of_name is None):
        raise typer.BadParameter("the person's id and name go together", param_hint="--on-behalf-of-id")
    named = {"id": on_behalf_of_id, "name": on_behalf_of_name} if on_behalf_of_id else None
    _decide(version, "promote", reason, on_behalf_of=named, result=result, as_json=as_json)


@commands.command()
def rollback(
    version: Annotated[str | None, typer.Argument(help="The champion to leave; whoever is champion without.")] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
    as_json: AsJson = False,
) -> None:
    """Makes the champion's predecessor champion again. Needs the role approver."""
    from contracts.errors import Rejected

    leaving = version or _ask("/v1/models")["champion"]
    if leaving is None:
        raise Rejected("there is no champion to leave", code="not_champion")
    _decide(leaving, "rollback", reason, as_json=as_json)


def _decide(
    version: str,
    what: str,
    reason: str,
    *,
    on_behalf_of: dict[str, str | None] | None = None,
    result: Path | None = None,
    as_json: bool,
) -> None:
    from connectors.api_client import Api

    body = {"reason": reason} | ({"on_behalf_of": on_behalf_of} if on_behalf_of else {})
    with Api(_settings()) as api:
        row = _decided(api, version, what, body)
    if result is not None:
        _hand_over(row, result)
    if as_json:
        _print_json(row)
    else:
        before = f" instead of {row['previous_version']}" if row["previous_version"] else ""
        print(f"version {row['version']} is champion{before} (row {row['id']} of the ledger)")


def _decided(api: Api, version: str, what: str, body: dict[str, Any]) -> Any:
    """The ledger's row. A promotion whose answer was lost is asked for again: what is done already is no failure.

    Raises:
        Transient: another decision is under way, which ends within seconds.
    """
    from connectors.api_client import quoted
    from contracts.errors import Rejected, Transient

    try:
        return api.post(f"/v1/models/{quoted(version)}/{what}", body)
    except Rejected as error:
        if error.code == "promotion_under_way":
            raise Transient(str(error), is_public=True) from error
        if error.code != "already_champion" or what != "promote":
            raise
        rows = api.get("/v1/promotions", limit=50)["items"]
        made = next((row for row in rows if row["state"] == "done"), None)
        if made is None or made["version"] != version:  # somebody was quicker, with another version
            raise
        return made


@commands.command()
def reconcile(*, as_json: AsJson = False) -> None:
    """Ends what a killed promotion left half-done and puts aliases back; the API does it every few seconds."""
    from importlib import import_module

    changes: list[str] = import_module("inference.registry.promotion").reconcile(_settings())
    _print_json({"changes": changes}) if as_json else print("\n".join(changes) or "All is as the ledger says.")


def _ask(path: str, **params: str | int) -> Any:
    from connectors.api_client import Api

    with Api(_settings()) as api:
        return api.get(path, **params)


def _settings() -> Settings:
    from contracts import logs
    from contracts.settings import Settings

    logs.configure(level="WARNING", as_json=False)
    return Settings.load()


def _say(*, as_json: bool) -> Callable[[str], None]:
    """Progress, out of the way of the JSON."""
    stream = sys.stderr if as_json else sys.stdout

    def say(line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    return say


def _hand_over(document: Any, file: Path | None) -> None:
    """Into the file of whoever started this, else on stdout."""
    if file is None:
        _print_json(document)
        return
    from inference.batch.job import hand_over

    hand_over(json.dumps(document), file)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2))
