"""# promote_model: from challenger to champion

evaluate ─► gate ─► approve ─► promote ─┬─► wait_until_served
                                        └─► watch

**When.** By itself when a version becomes the challenger (`sightline model deliver`). By the form for any version.

1. `evaluate` measures the challenger and the champion on the gate set: images that no training saw.
2. `gate` checks the evaluation tables against their contract and the figures against `gates/<model>.toml`, or the file that
   `promotion.gate_file` names. Exit code 99 is *hold*: everything after it is skipped, and the champion stays.
3. `approve` asks a person: **Required Actions** in this page. No answer is a rejection, and a rejection changes nothing.
4. `promote` writes the ledger in the name of who approved. Every process follows within seconds; `wait_until_served` sees that.
5. `watch`, meanwhile, compares with the previous champion for the gate file's window. Exit code 99: it has rolled back, with the reason in
   the ledger. Too few frames: the window is longer, never passed in silence.

**When it fails.**
- `evaluate`, `gate` with 65: the evidence cannot be trusted (tables that break their contract, training images in the gate
  set). Deliver the model anew.
- `promote` with 65: the champion or the gate file has changed since the gate decided. Clear `evaluate`. Or simulated boards do
  not count here (`SIGHTLINE_PROMOTION__GATE_SETS`): run it with 0 boards.
- `wait_until_served`: a process refuses the model and says why. `sightline model rollback --reason …` goes back; until then
  `watch` watches.
- `watch` with 75: fewer frames than the window asks for came; Airflow watches on.

**Again?** Yes: an evaluation is repeated, an approval is asked anew, a version that is champion stays champion.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Asset, AssetWatcher, Param, dag, task

from sightline_airflow import approval, approving, commands, replicas
from sightline_airflow.asking import as_airflow, rows, waited
from sightline_airflow.jobs import DEFAULTS, EVALUATE, GATE, PROMOTE, WATCH, job, settings
from sightline_airflow.triggers import ChallengerTrigger

CHALLENGER = Asset("challenger", watchers=[AssetWatcher(name="challenger_alias", trigger=ChallengerTrigger())])

FORM = {
    "version": Param(
        None, type=["null", "string"], pattern="^[0-9]+$", title="Version",
        description="Its number in MLflow. Empty: the challenger.",
    ),
    "boards": Param(
        settings().jobs.gate_boards, type="integer", minimum=0, maximum=10_000, title="Boards of the seed gate set",
        description="Judge on so many simulated boards. 0: on the reviewed frames of the gate set, as it should be.",
    ),
    "reason": Param(
        "approved in Airflow", type="string", minLength=1, maxLength=500, title="Reason",
        description="Stays in the ledger.",
    ),
}  # fmt: skip


def which(context: Any) -> str | None:
    """The form's version, else the delivery's that started the run, else the challenger's (None)."""
    if context["params"]["version"]:
        return str(context["params"]["version"])
    told = [event.extra for events in context["triggering_asset_events"].values() for event in events]
    return next((str(one["payload"]["version"]) for one in reversed(told) if "payload" in one), None)


def promotion(context: Any) -> tuple[str, ...]:
    """In the name of who approved."""
    who = approving.approver(context["ti"])
    version = context["ti"].xcom_pull(task_ids="gate")["version"]
    return commands.promote(
        version, reason=context["params"]["reason"], approver_id=who["id"], approver_name=who["name"]
    )


@dag(
    schedule=[CHALLENGER],
    start_date=datetime(2026, 11, 1),  # noqa: DTZ001 - Airflow reads it as UTC
    catchup=False,
    max_active_runs=1,  # one challenger at a time
    dagrun_timeout=timedelta(days=3),
    default_args=DEFAULTS,
    params=FORM,
    user_defined_macros={"request": lambda verdict, reason: approval.request(settings(), verdict, reason=reason)},
    doc_md=__doc__,
    tags=["models", "approval"],
)
def promote_model() -> None:
    """Wires the tasks."""

    @task.sensor(mode="reschedule", poke_interval=5, timeout=600)
    def wait_until_served(**context: Any) -> bool:
        """Until every process that is alive serves the new champion."""
        chosen = settings()
        asked = {"model": chosen.mlflow.model_name, "seconds": chosen.serving.replica_seconds}
        version = context["ti"].xcom_pull(task_ids="gate")["version"]
        with as_airflow():
            late = replicas.lagging(rows(replicas.SQL, asked), version, waited=waited(context))
        print("\n".join(late) or "every process serves it")
        return not late

    evaluate = job(
        EVALUATE,
        task_id="evaluate",
        command=lambda context: commands.evaluate(which(context), boards=context["params"]["boards"]),
    )
    gate = job(
        GATE,
        task_id="gate",
        command=lambda context: commands.gate(
            run=context["ti"].xcom_pull(task_ids="evaluate")["run"],
            digest=context["ti"].xcom_pull(task_ids="evaluate")["digest"],
        ),
    )
    approve = approving.PromotionApproval(
        task_id="approve",
        subject="Make version {{ ti.xcom_pull(task_ids='gate')['version'] }} the champion?",
        body="{{ request(ti.xcom_pull(task_ids='gate'), params.reason) }}",
        assigned_users=approval.approvers(settings()),
        defaults=approving.PromotionApproval.REJECT,
        response_timeout=timedelta(hours=settings().jobs.approval_hours),
        execution_timeout=None,  # response_timeout is the limit of the wait
        ignore_downstream_trigger_rules=True,
    )
    promote = job(PROMOTE, task_id="promote", command=promotion)
    watch = job(
        WATCH,
        task_id="watch",
        command=lambda context: commands.watch(str(context["ti"].xcom_pull(task_ids="promote")["id"])),
        execution_timeout=timedelta(hours=24),
        retries=20,
    )
    evaluate >> gate >> approve >> promote >> [wait_until_served(), watch]


promote_model()
