"""The gate on a real MLflow store and a real Postgres, with the two committed models on simulated boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import Settings
from inference.delivery import gate
from inference.delivery.deliver import deliver
from inference.delivery.gate_set import GATE_SEED, GateSet, simulated
from inference.delivery.manifest import TrainingManifest, write_manifest
from inference.domain.gate_file import parse_gate
from inference.persistence import connect as connect_to_postgres
from inference.persistence import gate_verdicts, ledger
from inference.persistence.gate_verdicts import Verdict
from inference.persistence.ledger import Approval
from inference.registry.gate_files import GATES, GateFile, gate_file
from inference.registry.mlflow_client import connect
from inference.registry.promotion import promote
from tests.support.evaluations import A_GATE
from tests.support.handovers import DEMO, WEAKER, a_handover, an_api, trained_on
from tests.support.models import under_a_gate

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn


def register(settings: Settings, folder: Path) -> str:
    return deliver(settings, folder, held_out=(), api=an_api(settings), say=lambda _: None).version


def make_champion(settings: Settings, version: str) -> None:
    with connect_to_postgres(settings) as connection:
        ledger.write_done(
            connection,
            settings.mlflow.model_name,
            version,
            previous_version=None,
            approval=Approval(by="bootstrap", reason="first"),
        )


def judged(settings: Settings, gate_set: GateSet, **changes: Any) -> Verdict:
    thresholds = changes.pop("thresholds", None) or committed(settings)
    return gate.judge(settings, gate_set, thresholds, **{"version": None, "say": lambda _: None} | changes)


def committed(settings: Settings) -> GateFile:
    return gate_file(settings, GATES / "pcb-defects.toml")


def newest(settings: Settings, version: str) -> Verdict:
    with connect_to_postgres(settings) as connection:
        found = gate_verdicts.newest(connection, settings.mlflow.model_name, version)
    assert found is not None
    return found


def test_a_worse_challenger_is_held_with_its_figures(settings: Settings, gate_set: GateSet) -> None:
    make_champion(settings, register(settings, DEMO))
    register(settings, WEAKER)
    answer = judged(settings, gate_set)
    assert (answer.version, answer.champion_version, answer.verdict) == ("2", "1", "hold")
    [accuracy] = [reason for reason in answer.reasons if reason.startswith("mAP50-95")]
    assert "mAP50-95 0.36" in accuracy
    assert "against the champion's 0.83" in accuracy
    assert "it may be 0.0050 worse" in accuracy
    assert any(reason.startswith("open: recall 0.2") and "floor 0.85" in reason for reason in answer.reasons)
    stored = newest(settings, "2")
    assert (stored.verdict, stored.reasons) == ("hold", answer.reasons)
    assert stored.dataset_digest == gate_set.digest
    assert stored.figures["candidate"][-1]["label"] == "all"


def test_a_better_challenger_passes_and_its_run_says_why(settings: Settings, gate_set: GateSet) -> None:
    make_champion(settings, register(settings, WEAKER))
    register(settings, DEMO)
    answer = judged(settings, gate_set)
    assert (answer.version, answer.champion_version, answer.verdict) == ("2", "1", "pass")
    assert (
        newest(settings, "2").model_digest
        == connect(settings).get_model_version(settings.mlflow.model_name, "2").tags["digest"]
    )
    assert answer.run_id is not None
    run = connect(settings).get_run(answer.run_id)
    assert (run.info.status, run.data.tags["gate.status"]) == ("FINISHED", "pass")
    assert run.data.tags["gate.gate_digest"] == answer.gate_digest
    assert run.data.metrics["candidate/ap50_95"] > run.data.metrics["champion/ap50_95"] + 0.3
    files = {file.path for file in connect(settings).list_artifacts(answer.run_id, "gate")}
    assert files == {"gate/candidate.csv", "gate/champion.csv", "gate/evaluation.json", "gate/verdict.json"}


def test_without_a_champion_the_absolute_thresholds_decide(settings: Settings, gate_set: GateSet) -> None:
    version = register(settings, DEMO)
    answer = judged(settings, gate_set, version=version)
    assert (answer.champion_version, answer.verdict) == (None, "pass")


def test_the_champion_itself_is_held(settings: Settings, gate_set: GateSet) -> None:
    make_champion(settings, register(settings, DEMO))
    answer = judged(settings, gate_set, version="1")
    assert (answer.verdict, answer.reasons) == ("hold", ("version 1 is the champion already",))


def test_too_few_labels_hold_however_good_the_model(settings: Settings) -> None:
    register(settings, DEMO)
    answer = judged(settings, simulated(12))
    assert answer.verdict == "hold"
    assert all("labels in the gate set, at least 30 are needed" in reason for reason in answer.reasons)


def test_a_model_trained_on_gate_frames_is_refused_and_the_frames_are_named(
    settings: Settings, gate_set: GateSet, tmp_path: Path
) -> None:
    seen = [gate_set.images[3], gate_set.images[17]]
    register(settings, trained_on(a_handover(tmp_path / "model", DEMO), *(image.sha256 for image in seen)))
    with pytest.raises(Rejected, match="2 of the 60 gate frames: board-0003, board-0017") as refusal:
        judged(settings, gate_set)
    assert (refusal.value.code, refusal.value.exit_code) == ("trained_on_gate", 65)
    stored = newest(settings, "1")
    assert stored.verdict == "refused"
    assert "board-0003, board-0017" in stored.reasons[0]


def test_a_model_trained_on_the_gates_line_of_the_simulator_is_refused(
    settings: Settings, gate_set: GateSet, tmp_path: Path
) -> None:
    folder = a_handover(tmp_path / "model", DEMO)
    write_manifest(
        folder, TrainingManifest(source="the line", images=frozenset(), simulator_seeds=frozenset({101, GATE_SEED}))
    )
    register(settings, folder)
    with pytest.raises(Rejected, match="60 of the 60 gate frames"):
        judged(settings, gate_set)


def test_a_manifest_changed_after_the_delivery_is_refused(
    settings: Settings, gate_set: GateSet, tmp_path: Path
) -> None:
    register(settings, trained_on(a_handover(tmp_path / "model", DEMO), gate_set.images[0].sha256))
    connect(settings)
    with pytest.raises(Rejected):
        judged(settings, gate_set)
    [folder] = (settings.stream.cache_folder / settings.mlflow.model_name).glob("1-*")
    write_manifest(folder, TrainingManifest(source="clean", images=frozenset({"0" * 64})))
    with pytest.raises(Rejected, match="is not the delivered one") as refusal:
        judged(settings, gate_set)
    assert refusal.value.code == "manifest_broken"


def test_a_version_without_a_manifest_is_refused(settings: Settings, gate_set: GateSet) -> None:
    register(settings, DEMO)
    gate.resolve_version(settings, "1")
    [folder] = (settings.stream.cache_folder / settings.mlflow.model_name).glob("1-*")
    (folder / "training_manifest.json").unlink()
    with pytest.raises(Rejected, match=r"training_manifest\.json is not there"):
        judged(settings, gate_set)
    assert newest(settings, "1").verdict == "refused"


def evaluated(settings: Settings, gate_set: GateSet, folder: Path) -> gate.Run:
    folder.mkdir()
    return gate.evaluate(settings, gate_set, committed(settings), version=None, folder=folder, say=lambda _: None)


def test_a_corrupted_evaluation_table_is_refused(settings: Settings, tmp_path: Path) -> None:
    register(settings, DEMO)
    folder = tmp_path / "evidence"
    run = evaluated(settings, simulated(6), folder)
    table = folder / "candidate.csv"
    table.write_text(table.read_text().replace("open,", "open,-", 1))
    corrupted = gate.Run(run_id=run.run_id, subject=run.subject, evidence_digest=gate.evidence_digest(folder))
    with pytest.raises(Rejected, match=r"version 1 breaks its contract.*labels: greater_than") as refusal:
        gate.decide(settings, corrupted, folder, committed(settings))
    assert (refusal.value.code, refusal.value.exit_code) == ("evaluation_broken", 65)
    assert newest(settings, "1").verdict == "refused"
    assert connect(settings).get_run(run.run_id).data.tags["gate.status"] == "refused"


def test_evidence_that_changed_since_it_was_measured_is_refused(settings: Settings, tmp_path: Path) -> None:
    register(settings, WEAKER)
    folder = tmp_path / "evidence"
    run = evaluated(settings, simulated(6), folder)
    for name, old, new in (("candidate.csv", ",0.", ",0.9"), ("evaluation.json", '"median_ms": ', '"median_ms": 0')):
        original = (folder / name).read_text()
        assert old in original
        (folder / name).write_text(original.replace(old, new, 1))
        with pytest.raises(Rejected, match="the evidence changed since it was measured"):
            gate.decide(settings, run, folder, committed(settings))
        (folder / name).write_text(original)
    assert gate.decide(settings, run, folder, committed(settings)).verdict == "hold"


def test_another_task_decides_on_what_lies_in_the_run(settings: Settings, tmp_path: Path) -> None:
    register(settings, DEMO)
    run = evaluated(settings, simulated(6), tmp_path / "evidence")
    answer = gate.decide_on_run(settings, run.run_id, run.evidence_digest, committed(settings))
    assert (answer.version, answer.run_id, answer.verdict) == ("1", run.run_id, "hold")
    with pytest.raises(Rejected, match="the evidence changed"):
        gate.decide_on_run(settings, run.run_id, "0" * 64, committed(settings))
    with pytest.raises(Rejected, match="is no evaluation of the gate"):
        gate.decide_on_run(settings, "no-such-run", run.evidence_digest, committed(settings))


def test_an_unknown_version_and_a_missing_challenger_are_refused(settings: Settings, gate_set: GateSet) -> None:
    version = register(settings, WEAKER)
    connect(settings).delete_registered_model_alias(settings.mlflow.model_name, "challenger")
    with pytest.raises(Rejected, match="has no challenger: deliver a model"):
        judged(settings, gate_set)
    with pytest.raises(Rejected, match="has no version 9"):
        judged(settings, gate_set, version="9")
    assert version == "1"


def test_a_slow_model_is_held_by_the_measured_latency(settings: Settings) -> None:
    register(settings, WEAKER)
    text = A_GATE.replace("median_ms = 100", "median_ms = 0.01")
    impatient = GateFile(gate=parse_gate(text, name="a.toml"), digest="0" * 64)
    answer = judged(settings, simulated(6), thresholds=impatient)
    assert any(reason.endswith("at most 0.0 ms") for reason in answer.reasons)


def patient(digest: str) -> GateFile:
    """Thresholds that the better model meets on a few boards, however busy the machine is."""
    text = A_GATE.replace("median_ms = 100", "median_ms = 100_000")
    text = text.replace("min_labels_per_class = 30", "min_labels_per_class = 1").replace(
        "max_ece = 0.2", "max_ece = 1.0"
    )
    return GateFile(gate=parse_gate(text, name="a.toml"), digest=digest)


def test_a_lax_gate_file_opens_no_promotion_and_neither_do_simulated_boards(settings: Settings) -> None:
    strict, any_set, boards = under_a_gate(settings), under_a_gate(settings, gate_sets="any"), simulated(8)
    make_champion(settings, register(settings, WEAKER))
    version = register(settings, DEMO)
    assert judged(settings, boards, thresholds=patient("0" * 64)).verdict == "pass"
    for one in (strict, any_set):
        with pytest.raises(Rejected, match=r"another gate file.*`sightline model gate 2( --boards 100)?`") as refusal:
            promote(one, version, approved_by="ada", reason="please")
        assert refusal.value.code == "gate_not_passed"
    answer = judged(settings, boards, thresholds=patient(gate_file(strict).digest))
    assert (answer.verdict, newest(settings, version).figures["gate_set"]) == ("pass", "simulated")
    with pytest.raises(Rejected, match=r"boards of the simulator.*`sightline model gate 2`"):
        promote(strict, version, approved_by="ada", reason="please")
    assert promote(any_set, version, approved_by="ada", reason="it finds more").state == "done"


def test_a_missing_gate_file_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(Misconfigured, match="cannot read the gate file"):
        gate_file(settings)


def test_postgres_away_says_nothing_of_the_model(settings: Settings, gate_set: GateSet) -> None:
    register(settings, WEAKER)
    away = settings.postgres.model_copy(update={"port": 9})
    with pytest.raises(Transient):
        judged(settings.model_copy(update={"postgres": away}), gate_set)
