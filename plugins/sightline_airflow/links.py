"""Buttons on a task's page: the model version in MLflow, the frames in the review page.

job's result {version, frames …} ─► link, kept by Airflow when the task ends
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperatorLink

from contracts.settings import Settings
from sightline_airflow.outcome import frames_named
from sightline_airflow.pages import model_version_url, review_url


class ModelVersionLink(BaseOperatorLink):
    """To MLflow."""

    name = "Model version"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Empty where the task's result names no version."""
        result = _result(operator, ti_key)
        version = result.get("version") if isinstance(result, Mapping) else None
        return model_version_url(_settings(), str(version)) if version else ""


class ReviewLink(BaseOperatorLink):
    """To the dashboard."""

    name = "Review"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The frames that the result names, else the queue."""
        return review_url(_settings(), frames_named(_result(operator, ti_key)))


LINKS = (ModelVersionLink(), ReviewLink())


def _settings() -> Settings:
    from sightline_airflow.jobs import settings

    return settings()


def _result(_operator: Any, ti_key: Any) -> Any:
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_value(ti_key=ti_key, key="return_value")
