"""Runs one of our DAGs to its end and says how each task ended: `python run_dag.py DAG CONF ANSWER`.

ANSWER (Approve, Reject, none) is what is said to an approval, through Airflow's own REST API, by somebody who may do
everything: who may answer is for the stack's tests, with its auth manager.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import threading
import time
from typing import Any

LONGEST_SECONDS = 120


def the_api() -> Any:
    """Airflow's REST API, within this process."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    return TestClient(create_app(apps="core"))


def answer(client: Any, how: str, said: list[Any]) -> None:
    """Waits for the request of `approve` and answers it."""
    base = "/api/v2/dags/promote_model/dagRuns"
    while True:
        open_ones = client.get(f"{base}/~/hitlDetails", params={"response_received": False}).json()
        # Asked before it waits: an answer in between is kept by a scheduler, but dag.test() has none.
        if any(one["task_instance"]["state"] == "awaiting_input" for one in open_ones.get("hitl_details", ())):
            break
        time.sleep(0.5)
    [request] = open_ones["hitl_details"]
    said.append({"subject": request["subject"], "body": request["body"]})
    run = request["task_instance"]["dag_run_id"]
    words = {"chosen_options": ["Reject" if how == "Reject" else "Approve"], "params_input": {}}
    ended = client.patch(f"{base}/{run}/taskInstances/approve/-1/hitlDetails", json=words)
    said.append(ended.status_code)


def main(name: str, conf: str, how: str) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)  # rather than hang: where it stood
    said: list[Any] = []
    if how != "none":
        # Made before the thread: two threads that import at once may wait for each other.
        client = the_api()
        client.get("/api/v2/dags")
        threading.Thread(target=answer, args=(client, how, said), daemon=True).start()
    run = DagBag().dags[name].test(run_conf=json.loads(conf))
    tasks = {
        f"{one.task_id}{one.map_index if one.map_index >= 0 else ''}": [str(one.state), one.try_number]
        for one in run.get_task_instances()
    }
    with create_session() as session:
        rows = session.query(XComModel).filter(XComModel.run_id == run.run_id, XComModel.key == "return_value")
        results = {row.task_id: row.value for row in rows}
    print("RAN" + json.dumps({"tasks": tasks, "said": said, "results": results, "run_id": run.run_id}))


if __name__ == "__main__":
    main(*sys.argv[1:])
