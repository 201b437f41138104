"""`sightline connectors status` as a log shows it: nobody can make the window wider there."""

from __future__ import annotations

import pytest

from connectors.connect_admin import Connector, TaskStatus
from connectors.reconcile import OWNED, OWNER
from sightline.commands.connectors import _print_status

REASON = "org.hibernate.HibernateException: Unable to determine Dialect without JDBC metadata"


def test_a_log_has_the_whole_reason_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    failed = TaskStatus(task=0, state="FAILED", worker="w", trace=f"a task died\nCaused by: {REASON}")
    sink = Connector(name="sessions_to_postgres", config={OWNER: OWNED}, state="RUNNING", tasks=(failed,))
    _print_status([sink], ["frames_to_s3"])
    [told] = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert "sessions_to_postgres" in told
    assert REASON in told
