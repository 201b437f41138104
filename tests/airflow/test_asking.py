from __future__ import annotations

import json
import socket

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from sightline_airflow.asking import rows


def test_postgres_away_is_said_in_words_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        nobody = {"conn_type": "postgres", "host": "127.0.0.1", "port": held.getsockname()[1], "login": "a"}
        monkeypatch.setenv("AIRFLOW_CONN_SIGHTLINE_POSTGRES", json.dumps(nobody))
        with pytest.raises(AirflowException, match=r"Postgres is away or busy .*Airflow tries again") as failed:
            rows("SELECT 1", {})
    assert not isinstance(failed.value, AirflowFailException)
