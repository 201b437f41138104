"""What a verdict rests on, as files: made once by the platform, read again by whoever decides.

    candidate, champion, gate set ──measure──► folder: candidate.csv, champion.csv, evaluation.json ──► a run in MLflow
    folder ──read──► both tables, if they keep their contract; latency; which versions, which images

Between the two the files may lie in MLflow (Airflow decides in another task): their digest goes with them by hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from contracts.errors import Misconfigured, Rejected
from inference.delivery.evaluation import evaluate
from inference.delivery.gate_set import GateSet
from inference.delivery.measuring import detections, measure
from inference.delivery.tables import read_table, table_of, write_table
from inference.domain.gate import Latency
from inference.domain.gate_file import LatencyBudget
from inference.domain.model_spec import FILE_NAME, parse
from inference.engines import openvino_int8_engine
from inference.registry.model_version import ModelVersion

CANDIDATE_TABLE: Final = "candidate.csv"
CHAMPION_TABLE: Final = "champion.csv"
FACTS: Final = "evaluation.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Candidate and champion on one gate set."""

    version: str
    model_digest: str
    champion_version: str | None
    candidate: pd.DataFrame
    champion: pd.DataFrame | None
    latency: Latency
    int8_map50_95: float | None  # of the candidate's int8 graph, where it has one that is used
    dataset_digest: str  # of the gate set
    dataset: str  # in words
    gate_set: str  # its kind; empty: measured before it was written down


def write_evidence(
    folder: Path,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    gate_set: GateSet,
    *,
    budget: LatencyBudget,
) -> None:
    """Measures both models and writes what was found.

    Args:
        folder: empty; filled.
        candidate: its files are here.
        champion: likewise; None where there is none.
        gate_set: what both are judged on.
        budget: which engine the latency is measured with, and on how many threads.

    Raises:
        Misconfigured: the platform's engine cannot run a model.
        Rejected: an image of the gate set is not what was labelled.
    """
    engine, threads = budget.engine, budget.threads
    mine = measure(_folder(candidate), gate_set, engine=engine, threads=threads)
    write_table(folder / CANDIDATE_TABLE, table_of(mine.evaluation))
    facts: dict[str, Any] = {
        "format": FORMAT,
        "version": candidate.version,
        "model_digest": candidate.digest,
        "classes": _classes(candidate),
        "latency": asdict(mine.latency),
        "int8_map50_95": _int8(candidate, gate_set),
        "dataset_digest": gate_set.digest,
        "dataset": gate_set.source,
        "gate_set": gate_set.kind,
        "champion": None,
    }
    if champion is not None:
        theirs = measure(_folder(champion), gate_set, engine=engine, threads=threads)
        write_table(folder / CHAMPION_TABLE, table_of(theirs.evaluation))
        facts["champion"] = {"version": champion.version, "classes": _classes(champion)}
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def read_evidence(folder: Path) -> Evaluated:
    """What was found, both tables held against their contract.

    Raises:
        Rejected: a file is missing or damaged, or a table breaks its contract (evaluation_broken).
    """
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        if facts["format"] != FORMAT:
            raise Misconfigured(f"{FACTS} has format {facts['format']}; this version reads {FORMAT}: evaluate again")
        champion = facts["champion"]
        return Evaluated(
            version=facts["version"],
            model_digest=facts["model_digest"],
            champion_version=None if champion is None else champion["version"],
            candidate=_read(folder / CANDIDATE_TABLE, facts["classes"], f"version {facts['version']}"),
            champion=None
            if champion is None
            else _read(folder / CHAMPION_TABLE, champion["classes"], f"version {champion['version']}"),
            latency=Latency(**facts["latency"]),
            int8_map50_95=facts["int8_map50_95"],
            dataset_digest=facts["dataset_digest"],
            dataset=facts["dataset"],
            gate_set=facts.get("gate_set", ""),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Rejected(
            f"{FACTS} cannot be read ({type(error).__name__}: {error}): evaluate again", code="evaluation_broken"
        ) from error


def evidence_digest(folder: Path) -> str:
    """Of every file's name and bytes."""
    lines = [
        f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in sorted(folder.iterdir())
        if file.name in {CANDIDATE_TABLE, CHAMPION_TABLE, FACTS}
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _int8(candidate: ModelVersion, gate_set: GateSet) -> float | None:
    """What the candidate's word that int8 is as good is worth."""
    folder = _folder(candidate)
    int8 = openvino_int8_engine.stated(folder)
    if int8 is None or not int8.is_passed:
        return None
    spec = parse((folder / FILE_NAME).read_bytes())
    seen = detections(folder, gate_set, engine="openvino-int8")
    return evaluate(seen, spec.classes, confidence=spec.confidence).overall.ap50_95


def _read(file: Path, classes: Sequence[str], of: str) -> pd.DataFrame:
    return read_table(file, classes=classes, of=of)


def _folder(version: ModelVersion) -> Path:
    if version.folder is None:
        raise Misconfigured(f"version {version.version} of {version.name} has no files")
    return version.folder


def _classes(version: ModelVersion) -> list[str]:
    return list(parse((_folder(version) / FILE_NAME).read_bytes()).classes)
