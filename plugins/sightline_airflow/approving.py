"""The request for a person's approval, tied to what the person read.

evaluate, gate ─► asked = {version, run, digest} ─► the request ─► answer ─► promotion: in whose name, if it is still the same
"""

from __future__ import annotations

from typing import Any, Final

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowFailException

ASKED: Final = "asked"  # the key of the XCom
APPROVE: Final = "Approve"


class PromotionApproval(ApprovalOperator):
    """Asks, and keeps what it asked about."""

    def execute(self, context: Any) -> None:
        """Waits for a person."""
        context["ti"].xcom_push(key=ASKED, value=question(context["ti"]))
        super().execute(context)


def question(ti: Any) -> dict[str, Any]:
    """What an approval is about, as the tasks before it say now."""
    evaluated, verdict = ti.xcom_pull(task_ids="evaluate"), ti.xcom_pull(task_ids="gate")
    return {"version": verdict["version"], "run": evaluated["run"], "digest": evaluated["digest"]}


def approver(ti: Any) -> dict[str, str]:
    """Who approved what the gate says now: id and name.

    Raises:
        AirflowFailException: nobody did, or it was another version or another evaluation.
    """
    answer = ti.xcom_pull(task_ids="approve")
    if not answer or not answer["responded_by_user"] or answer["chosen_options"] != [APPROVE]:
        raise AirflowFailException(
            "nobody has approved: the task was marked, not answered. Clear `approve`, and have it answered"
        )
    asked, now = ti.xcom_pull(task_ids="approve", key=ASKED), question(ti)
    if asked != now:
        raise AirflowFailException(
            f"the approval was given for {_words(asked)}, and the gate speaks of {_words(now)} now. Clear `approve`, and "
            "have it answered anew"
        )
    who: dict[str, str] = answer["responded_by_user"]
    return who


def _words(asked: dict[str, Any] | None) -> str:
    return f"version {asked['version']} by evaluation {asked['run']}" if asked else "nothing that was kept"
