"""# score_frames: scores what the stream did not

plan ─► score (one job for each shard) ─► wait_until_stored ─► check ─► report

**When.** Every hour, for frames that nobody scored: older than 15 minutes, passed by the stream, captured in the last day.
By the form, for anything else: a gap after an outage (a range, `missing`), history with a new champion (a range, `all`), any
range through any version.

**Again?** Yes, always. A frame has one prediction for each version; what this run wrote is left out.

**When it fails.**
- `plan` names the version, once for the whole run: at once where nobody has the alias, tried again where nobody is champion
  yet or, for another alias, the API is away.
- `plan`, `wait_until_stored`: Postgres does not answer, and Airflow tries again. `sightline status` says who is missing.
  When the wait is over and rows are still missing, look at the sink: `sightline connectors status`.
- `score`, exit code 65: images are lost, or there is no such version; the log names them. Everything else is scored.
- `score`, exit code 75: something is away; Airflow tries again. 78: a setting; the last line of the log names it.
- `check`: rows that break their contract, named in the log.
- No shards: there was nothing to do, and every task after `plan` is skipped; its log says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag, task

from contracts.times import instant
from sightline_airflow import commands, planning, scoring, versions
from sightline_airflow.asking import as_airflow, models, rows
from sightline_airflow.interval import interval_of
from sightline_airflow.jobs import CHECK, DEFAULTS, SCORE, job, jobs_of, settings

BEGUN = "begun"  # the XCom of the plan: which version, and when

FORM = {
    "since": Param(
        None, type=["null", "string"], format="date-time", title="Captured since",
        description="Start of the range. Empty, with the end empty too: what the last day left unscored.",
    ),
    "until": Param(
        None, type=["null", "string"], format="date-time", title="Captured before",
        description="End of the range, not included. A range that you name takes young frames too.",
    ),
    "cameras": Param(
        None, type=["null", "array"], items={"type": "string"}, title="Cameras",
        description="One camera id a line. Empty: every camera.",
    ),
    "model": Param(
        "champion", type="string", pattern="^([a-z_]+|[0-9]+)$", title="Model",
        description="An alias (champion, challenger, previous_champion) or the number of a version.",
    ),
    "only": Param(
        "missing", type="string", enum=["missing", "all"], title="Which frames",
        description="missing: those that are not scored. all: scored ones too, once more.",
    ),
    "shard": Param(
        2000, type="integer", minimum=1, maximum=1_000_000, title="Frames in a job",
        description="At most so many in one job. Smaller: more jobs at a time, and less to do again after a failure.",
    ),
}  # fmt: skip


def asked(context: Any) -> scoring.Asked:
    """The form's range, else the run's hour and the day before it."""
    start, end = interval_of(context, length=timedelta(hours=1))
    return scoring.asked(context["params"], start=start, end=end)


def version_of(wanted: str, model: str) -> str:
    """Its number: an alias may move while the run is under way."""
    return versions.number_of(
        wanted, champion=lambda: next((row[0] for row in rows(*planning.champion(model))), None), models=models
    )


def checking(context: Any) -> tuple[str, ...]:
    """The run's own predictions, looked for in its own range."""
    with as_airflow():
        wanted = asked(context)
    return commands.check_run(context["run_id"], since=wanted.since.isoformat(), until=wanted.until.isoformat())


def results(context: Any) -> list[Any]:
    """Of every shard. The task is named in a list, for else a single shard's result comes without a list around it."""
    found: list[Any] = context["ti"].xcom_pull(task_ids=["score"])
    return found


@dag(
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1),  # noqa: DTZ001 - Airflow reads it as UTC
    catchup=False,
    max_active_runs=2,
    dagrun_timeout=timedelta(hours=12),
    default_args=DEFAULTS,
    params=FORM,
    render_template_as_native_obj=True,
    doc_md=__doc__,
    tags=["batch", "frames"],
)
def score_frames() -> None:
    """Wires the tasks."""

    @task
    def plan(**context: Any) -> list[list[str]]:
        """One command for each shard of frames that are still to be done."""
        with as_airflow():
            wanted = asked(context)
            model, run_id = settings().mlflow.model_name, context["run_id"]
            begun = {"version": version_of(wanted.model, model), "at": datetime.now(UTC).isoformat()}
            context["ti"].xcom_push(key=BEGUN, value=begun)
            version = begun["version"]
            chosen = wanted.selection(model, run_id=run_id, version=version)
            shards = rows(*planning.shards(chosen, frames=context["params"]["shard"]))
            if not shards:
                print("no frame in this range needs scoring: nothing to do, and every task after this one is skipped")
            return scoring.commands_of(wanted, shards, run_id=run_id, version=version)

    @task.sensor(mode="reschedule", poke_interval=10, timeout=1800)
    def wait_until_stored(**context: Any) -> bool:
        """Until the sink has written what the jobs sent."""
        done = scoring.summary(results(context))
        wanted, begun = asked(context), context["ti"].xcom_pull(task_ids="plan", key=BEGUN)
        chosen = wanted.selection(
            settings().mlflow.model_name,
            run_id=context["run_id"],
            version=begun["version"],
            replaced_since=instant(begun["at"]),
        )
        [(written,)], [(remaining,)] = rows(*planning.written(chosen)), rows(*planning.remaining(chosen))
        return scoring.is_stored(done, written=written, remaining=remaining)

    @task
    def report(**context: Any) -> dict[str, Any]:
        """The run in figures, for the log and whoever asks by REST."""
        figures = scoring.summary(results(context))
        print(f"{figures['scored']} frames in {figures['shards']} jobs, {figures['frames_per_second']} frames/s each")
        return figures

    scored = jobs_of(SCORE, task_id="score", execution_timeout=timedelta(hours=6)).expand(command=plan())
    checked = job(CHECK, task_id="check", command=checking)
    scored >> wait_until_stored() >> checked >> report()


score_frames()
