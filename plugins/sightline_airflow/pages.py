"""Where a person looks further: addresses as a browser reaches them. Pure.

version ─► its page in MLflow        frames ─► the review page
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from contracts.settings import Settings


def model_version_url(settings: Settings, version: str) -> str:
    """The version's page in MLflow, as a browser reaches it."""
    base = (settings.jobs.mlflow_url or settings.mlflow.tracking_uri).rstrip("/")
    return f"{base}/#/models/{quote(settings.mlflow.model_name, safe='')}/versions/{quote(version, safe='')}"


def review_url(settings: Settings, frames: list[str]) -> str:
    """The review page; at these frames, where there are any. Empty: there is no dashboard."""
    if not settings.jobs.review_url:
        return ""
    base = settings.jobs.review_url.rstrip("/")
    return f"{base}?{urlencode({'frame': frames[:1]}, doseq=True)}" if frames else base
