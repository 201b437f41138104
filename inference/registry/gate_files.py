"""The gate file in force: `gates/<model>.toml` as committed, or the one that the settings name.

file ──► thresholds, and the digest by which a verdict says what it was held against
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import inference
from contracts.errors import Misconfigured
from contracts.settings import Settings
from inference.domain.gate_file import Gate, parse_gate

GATES: Final = Path(inference.__file__).parent / "delivery" / "gates"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFile:
    """The thresholds as read, with what identifies them."""

    gate: Gate
    digest: str  # sha256, lower-case hex


def gate_file(settings: Settings, file: Path | None = None) -> GateFile:
    """The thresholds for the installation's model.

    Args:
        settings: which model; which file is in force.
        file: another one.

    Raises:
        Misconfigured: there is no such file, or it does not fit.
    """
    file = file or settings.promotion.gate_file or GATES / f"{settings.mlflow.model_name}.toml"
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise Misconfigured(
            f"cannot read the gate file {file.name} ({error.strerror}): write it, name another in "
            "SIGHTLINE_PROMOTION__GATE_FILE, or give --gate"
        ) from error
    return GateFile(gate=parse_gate(text, name=file.name), digest=hashlib.sha256(text.encode()).hexdigest())
