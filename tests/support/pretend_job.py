"""Stands for every job where a test is about the DAG around them: `python pretend_job.py -m MODULE … --result FILE`.

Notes its words in $NOTES, writes what the test put into $ANSWERS for this job, and ends with the exit code named there.
A score job writes its predictions as the sink would; another run, $REPLACED, replaces each at once.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import psycopg

from contracts.settings import Settings
from tests.support.rows import a_prediction, now, upsert

_LATER = timedelta(milliseconds=1)


def main(words: list[str]) -> int:
    job = words[2] if words[1] == "inference.batch" else " ".join(words[2:4])
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(json.dumps([job, words]) + "\n")
    answers = json.loads(Path(os.environ["ANSWERS"]).read_text())
    exit_code, result = answers.get(job + (" --run" if "--run" in words else ""), [0, {}])
    if job == "score" and exit_code == 0:
        result = scored(words)
    if "--result" in words:
        Path(words[words.index("--result") + 1]).write_text(json.dumps(result))
    print(f"{job} ends with {exit_code}")
    return int(exit_code)


def scored(words: list[str]) -> dict[str, object]:
    given = {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
    with psycopg.connect(Settings.load().postgres.conninfo) as connection:
        span = (given["--first"], given["--last"])
        frames = connection.execute(
            "SELECT frame_id::text FROM frames WHERE frame_id BETWEEN %s AND %s", span
        ).fetchall()
        for (frame_id,) in frames:
            row = a_prediction(frame_id, run_id=given["--run-id"], role="batch", model_version=given["--version"])
            upsert(connection, "predictions", row | {"inferred_at": now()})
            if "REPLACED" in os.environ:
                upsert(
                    connection, "predictions", row | {"inferred_at": now() + _LATER, "run_id": os.environ["REPLACED"]}
                )
    count = {"planned": len(frames), "scored": len(frames)}
    return count | {"seconds": 0.5, "version": given["--version"], "missing_objects": []}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
