from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from sightline_airflow.asking import rows, waited


def test_postgres_away_is_said_in_words_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        nobody = {"conn_type": "postgres", "host": "127.0.0.1", "port": held.getsockname()[1], "login": "a"}
        monkeypatch.setenv("AIRFLOW_CONN_SIGHTLINE_POSTGRES", json.dumps(nobody))
        with pytest.raises(AirflowException, match=r"Postgres is away or busy .*Airflow tries again") as failed:
            rows("SELECT 1", {})
    assert not isinstance(failed.value, AirflowFailException)


def test_a_sensor_has_waited_since_its_first_look() -> None:
    class Sensor:
        first: datetime | None = None

        def get_first_reschedule_date(self, _: object) -> datetime | None:
            return self.first

    sensor = Sensor()
    assert waited({"ti": sensor}) == timedelta()
    sensor.first = datetime.now(UTC) - timedelta(minutes=2)
    assert timedelta(minutes=2) <= waited({"ti": sensor}) < timedelta(minutes=3)
