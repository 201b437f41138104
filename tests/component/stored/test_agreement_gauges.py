"""How far challenger and champion agree, as /metrics shows it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from contracts.settings import PostgresSettings, Settings
from inference.api.agreement import AgreementGauges
from inference.api.metrics import Metrics
from inference.persistence.pool import Database
from inference.registry.model_version import ModelVersion
from tests.support.rows import Row, a_prediction, upsert
from tests.support.waiting import eventually

PREFIX = "sightline_api_challenger_agreement"
Models = tuple[Any, Any]


def loaded(number: str) -> Any:
    version = ModelVersion(name="pcb-defects", version=number, digest="d" * 64, folder=None, licence="none")
    return SimpleNamespace(version=version)


def shown(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(f"{PREFIX}_{name}", labels)
    assert value is not None
    return value


@pytest.fixture
def gauges(database: Settings) -> Any:
    opened: list[Database] = []

    def made(models: Models, settings: Settings = database, **options: Any) -> tuple[AgreementGauges, Metrics]:
        metrics = Metrics()
        opened.append(Database(settings, wait_seconds=0.5))
        return AgreementGauges(opened[-1], metrics, lambda: models, **options), metrics

    yield made
    for each in opened:
        each.close()


def test_champion_and_challenger_are_compared_on_the_frames_that_both_saw(
    connection: psycopg.Connection[Any], keep: Callable[..., Row], gauges: Any
) -> None:
    for sequence, labels in enumerate((["open", "short"], ["open", "spur"])):
        frame = keep(sequence=sequence)  # by version 1: open and short
        upsert(connection, "predictions", a_prediction(frame["frame_id"], model_version="2", labels=labels))
    keep(sequence=2)  # the champion alone
    timer, metrics = gauges((loaded("1"), loaded("2")))
    before = time.time()
    timer.refresh()
    assert shown(metrics, "ratio") == 3 / 4
    assert shown(metrics, "frames") == 2
    kinds = {kind: shown(metrics, "boxes", kind=kind) for kind in ("agreed", "label_flip", "missing", "extra")}
    assert kinds == {"agreed": 3, "label_flip": 1, "missing": 0, "extra": 0}
    assert shown(metrics, "timestamp_seconds") >= before
    assert f"{PREFIX}_ratio 0.75" in metrics.page().decode()


@pytest.mark.parametrize("models", [(loaded("1"), None), (None, loaded("2")), (loaded("1"), loaded("1"))])
def test_without_two_models_there_is_no_ratio(models: Models, keep: Callable[..., Row], gauges: Any) -> None:
    keep()
    timer, metrics = gauges(models)
    timer.refresh()
    assert math.isnan(shown(metrics, "ratio"))
    assert shown(metrics, "frames") == 0


def test_while_postgres_is_away_the_figures_stay_and_show_their_age(gauges: Any) -> None:
    away = Settings(postgres=PostgresSettings(port=1))
    timer, metrics = gauges((loaded("1"), loaded("2")), away)
    timer.refresh()
    assert shown(metrics, "timestamp_seconds") == 0


def test_the_timer_measures_by_itself_and_ends_when_told(gauges: Any) -> None:
    timer, metrics = gauges((None, None), seconds=0.02)
    timer.start()
    assert math.isnan(shown(metrics, "ratio"))
    eventually(lambda: shown(metrics, "timestamp_seconds") > 0)
    timer.close()
    timer._thread.join(5)
    assert not timer._thread.is_alive()
