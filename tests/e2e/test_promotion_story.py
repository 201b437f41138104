"""A better model existed, and the old environment could not run it. Here it is handed over with one command.

    weaker model serves ─► deliver the better one ─► gate ─► promote ─► every replica ─► rollback ─► promote again
    all the while        images to the API, frames to the stream, at half of what the machine can take

Every answer of the API and every frame of the stream is recorded: none fails, none is skipped, none is twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from contracts.settings import Settings
from contracts.topics import PREDICTIONS
from inference.registry.mlflow_client import connect
from sightline.stack.bootstrap import as_bootstrap
from sightline.stack.home import Home
from sightline.stack.logins import read as read_logins
from tests.support.command_line import Outcome, finish, run, run_as, start
from tests.support.handovers import DEMO, WEAKER, a_handover, edit_json, trained_on
from tests.support.rest_load import Load
from tests.support.stack import running_stack
from tests.support.topic_reader import read_topic
from tests.support.waiting import eventually

SWAP_SECONDS = 5.0  # from the ledger's row to the last replica's heartbeat
GATE_BOARDS = "60"
LEAST_REPLICAS = 2  # a process of the API and a stream worker
STREAM_FPS = "4"

# Of the replicas: how many serve the version, how many another one.
REPLICAS = """
SELECT count(*) FILTER (WHERE version = %(version)s AND state = 'serving'), count(*) FILTER (WHERE version <> %(version)s)
FROM serving
WHERE kind IN ('api', 'stream') AND updated_at > (now() AT TIME ZONE 'UTC') - interval '10 seconds'
"""


@pytest.fixture(scope="module")
def full() -> Iterator[Settings]:
    """A stack of profile full whose first champion is the weaker model."""
    with running_stack(profile="full", first_model=WEAKER) as settings:
        yield settings


@contextmanager
def under_load(settings: Settings, camera: str) -> Iterator[Load]:
    """API and stream busy at about half of what they can take; at the end every frame is accounted for."""
    load = Load(settings)
    sending = start(settings, "send", "simulator:?size=320", "--camera", camera, "--fps", STREAM_FPS, "--json")
    try:
        load.start()
        yield load
    finally:
        answers = load.stop()
        sending.send_signal(2)
        sent = finish(sending, seconds=120)
    assert answers.broken == []
    assert set(answers.statuses) == {200}, answers.statuses
    assert sent.answer["acknowledged"] == sent.answer["captured"] > 0
    audit = run(settings, "audit", "--camera", camera, "--wait", "120", "--json", seconds=180)
    assert audit.code == 0, audit.out
    assert audit.answer["stored"] == sent.answer["acknowledged"]


def model(
    settings: Settings, *arguments: str, person: str = "scientist", code: int = 0, seconds: float = 300
) -> Outcome:
    outcome = run_as(settings, person, "model", *arguments, seconds=seconds)
    assert outcome.code == code, f"{arguments}: {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome


def promoted(settings: Settings, *arguments: str) -> tuple[dict[str, Any], float]:
    """The ledger's row, and seconds from its done until the last replica told that it serves the version."""
    row = json.loads(model(settings, *arguments, "--json", person="approver").out)
    with psycopg.connect(settings.postgres.conninfo, autocommit=True) as connection:

        def all_serve() -> bool:
            there, others = connection.execute(REPLICAS, {"version": row["version"]}).fetchone() or (0, 0)
            return there >= LEAST_REPLICAS and others == 0

        eventually(all_serve, seconds=30, every=0.1)
        [seconds] = connection.execute(
            "SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - done_at)::float FROM promotions WHERE id = %s",
            [row["id"]],
        ).fetchone() or (float("inf"),)
    return row, seconds


def test_a_better_model_is_delivered_judged_promoted_and_rolled_back_under_load(full: Settings, tmp_path: Path) -> None:
    with under_load(full, "story") as load:
        said = model(full, "deliver", str(a_handover(tmp_path / "better", DEMO)), "--json")
        assert " INFO mlflow" not in said.err
        delivered = json.loads(said.out)
        assert delivered["role"] == "challenger"
        better = delivered["version"]
        verdict = json.loads(model(full, "gate", better, "--boards", GATE_BOARDS, "--json").out)
        assert (verdict["verdict"], verdict["champion_version"]) == ("pass", "1")
        row, seconds = promoted(full, "promote", better, "--reason", "it finds more")
        assert (row["version"], row["previous_version"], row["state"]) == (better, "1", "done")
        assert seconds < SWAP_SECONDS
        seen = load.answers.versions[better]
        eventually(lambda: load.answers.versions[better] > seen + 2, seconds=30)
        row, seconds = promoted(full, "rollback", "--reason", "trying the way back")
        assert (row["version"], row["previous_version"]) == ("1", better)
        assert seconds < SWAP_SECONDS
        row, seconds = promoted(full, "promote", better, "--reason", "and forth")
        assert seconds < SWAP_SECONDS
    history = json.loads(model(full, "history", "--json", person="viewer").out)
    assert [row["version"] for row in history["items"]][:4] == [better, "1", better, "1"]
    assert history["items"][0]["approved_by"]


def test_the_stream_predicted_every_frame_of_the_story_once_by_the_champion_of_its_moment(full: Settings) -> None:
    """Read from the topic: of a challenger's and a champion's row for one version the table keeps the newer alone."""
    with psycopg.connect(full.postgres.conninfo) as connection:
        frames = connection.execute("SELECT frame_id::text FROM frames WHERE camera_id = 'story'").fetchall()

    def predicted() -> Counter[tuple[str, str]]:
        records = read_topic(full, PREDICTIONS.name, lambda it: it["camera_id"] == "story" and it["role"] == "champion")
        found = Counter((record["frame_id"], record["model_version"]) for record in records)
        missing = {frame_id for (frame_id,) in frames} - {frame_id for frame_id, _ in found}
        assert not missing, f"no champion predicted {missing}"
        return found

    found = eventually(predicted, seconds=60, every=2)
    assert set(found.values()) == {1}
    assert len(found) == len(frames)
    assert {version for _, version in found} >= {"1", "2"}


def test_a_worse_challenger_is_held_with_its_figures_and_cannot_be_promoted(full: Settings) -> None:
    """The weaker model again, now against the better champion."""
    held = model(full, "gate", "1", "--boards", GATE_BOARDS, "--json", code=99)
    verdict = json.loads(held.out)
    assert verdict["verdict"] == "hold"
    assert any(re.search(r"mAP\S* 0\.\d+.*champion's 0\.\d+", reason) for reason in verdict["reasons"])
    refused = model(full, "promote", "1", "--reason", "please", person="approver", code=65)
    assert "gate" in refused.err


def test_a_model_trained_on_gate_frames_is_refused_and_the_frames_are_named(full: Settings, tmp_path: Path) -> None:
    from inference.delivery.gate_set import simulated

    seen = simulated(int(GATE_BOARDS)).images[0]
    cheat = another(trained_on(a_handover(tmp_path / "cheat", DEMO), seen.sha256), "cheat")
    version = json.loads(model(full, "deliver", str(cheat), "--json").out)["version"]
    refused = model(full, "gate", version, "--boards", GATE_BOARDS, code=65)
    assert seen.name in refused.err


def test_a_broken_model_is_refused_before_it_is_registered(full: Settings, tmp_path: Path) -> None:
    broken = a_handover(tmp_path / "broken", DEMO)
    (broken / "model.onnx").write_bytes(b"not a graph")
    before = versions(full)
    refused = model(full, "deliver", str(broken), code=65)
    assert "model.onnx" in refused.err
    assert versions(full) == before


def test_an_alias_moved_by_hand_is_not_served_is_reported_and_put_back(full: Settings) -> None:
    """Somebody with the bootstrap's account writes the alias past the ledger."""
    name = full.mlflow.model_name
    home = Home(full.stack.home)
    client = connect(as_bootstrap(full, read_logins(home)))
    champion = client.get_model_version_by_alias(name, "champion").version
    client.set_registered_model_alias(name, "champion", "1")
    assert champion != "1"
    eventually(lambda: str(client.get_model_version_by_alias(name, "champion").version) == str(champion), seconds=30)
    with psycopg.connect(full.postgres.conninfo) as connection:
        served = connection.execute("SELECT DISTINCT version FROM serving WHERE kind IN ('api', 'stream')").fetchall()
    assert served == [(str(champion),)]
    assert "alias_put_back" in log_of(full, "api")


def another(folder: Path, name: str) -> Path:
    """The same model under another digest: a note in the file's metadata, which ONNX allows to be appended."""
    note = name.encode()
    entry = b"\x0a" + bytes([4]) + b"note" + b"\x12" + bytes([len(note)]) + note
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes() + b"\x72" + bytes([len(entry)]) + entry)
    edit_json(folder / "model.json", sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    return folder


def versions(settings: Settings) -> list[str]:
    listed = json.loads(model(settings, "list", "--json", person="viewer").out)
    return sorted(one["version"] for one in listed["items"])


def log_of(settings: Settings, service: str) -> str:
    return (settings.stack.home / "logs" / f"{service}.log").read_text(errors="replace")
