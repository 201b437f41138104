"""A job as a pod: KubernetesPodOperator, set for jobs that may wait for a GPU and run for hours.

task ─► pod ─► deferred: the triggerer watches, the log follows every few seconds ─► exit code ─► outcome, as outcome.py says

A scheduler that is killed finds the same pod again (durable). A failed pod stays until `airflow kubernetes cleanup-pods`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from sightline_airflow import pod_parts
from sightline_airflow.ending import failure, literally, resolved
from sightline_airflow.jobs import Kind, Words, settings
from sightline_airflow.links import LINKS

RESULT: Final = "/airflow/xcom/return.json"  # where the sidecar looks for it
_DAY: Final = timedelta(days=1)


class PodJobOperator(KubernetesPodOperator):
    """Runs one job in a pod."""

    template_fields: Sequence[str] = (*KubernetesPodOperator.template_fields, "command")
    template_fields_renderers = {"env_vars": "py", "command": "json"}  # noqa: RUF012 - Airflow's own way
    operator_extra_links = LINKS
    ui_color = "#e8f0fe"

    def __init__(self, *, kind: Kind, command: Words, **rest: Any) -> None:
        chosen = settings().jobs
        super().__init__(**(pod_parts.of(chosen, kind) | rest))
        self.kind = kind
        self.command = command
        # Kubernetes ends the pod itself, should nobody be left to do it.
        limit = self.execution_timeout or _DAY
        self.active_deadline_seconds = int(limit.total_seconds()) + chosen.startup_seconds

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """A function becomes its words first, so that the page shows them. No word is a template: a form's would run."""
        self.command = literally(resolved(self.command, context))
        super().render_template_fields(context, jinja_env)

    def build_pod_request_obj(self, context: Any = None, *, dry_run: bool = False) -> Any:
        """The pod, with what KubernetesPodOperator has no parameter for."""
        words = [str(word) for word in resolved(self.command, context)]
        self.cmds = [*words, "--result", RESULT] if self.kind.has_result else words
        return pod_parts.finished(super().build_pod_request_obj(context, dry_run=dry_run), settings().jobs)

    def cleanup(self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Any = None) -> None:
        """The pod's end becomes the task's: which exit codes are final is ours to say."""
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            raise failure(
                self.kind.name,
                pod_parts.exit_code(remote_pod, self.base_container_name),
                result=xcom_result,
                tail=str(error).splitlines()[:3],
            ) from error
