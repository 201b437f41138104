"""The demonstration's steps: what `sightline demo` does, and how it shows what came out.

up ─► send ─► audit --wait        the commands of a user, each a process of its own
latest ─► table, contact sheet    the newest frames of the camera with what the champion saw in them
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.table import Table

from contracts.settings import Settings
from sightline.contact_sheet import Panel, contact_sheet

SIMULATED_FRAMES: Final = 120
SHOWN_FRAMES: Final = 12

_LATEST: Final = """
    SELECT frames.frame_id::text, frames.sequence, frames.object_key, predictions.model_version, predictions.status,
           predictions.latency_ms, predictions.labels, predictions.confidences, predictions.boxes
    FROM frames JOIN predictions USING (frame_id)
    WHERE frames.camera_id = %s
    ORDER BY frames.frame_id DESC
    LIMIT %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One frame and what one model version saw in it."""

    frame_id: str
    sequence: int
    object_key: str
    model_version: str
    status: str
    latency_ms: float
    labels: list[str]
    confidences: list[float]
    boxes: list[float]  # x1 y1 x2 y2 per detection, pixels of the original image


def send_and_wait(source: str, *, camera: str, wait_seconds: float) -> None:
    """Runs the commands; the first that fails ends the demonstration with its own exit code."""
    simulated = ["simulator:?seed=2026", "--count", str(SIMULATED_FRAMES)]
    for arguments in (
        ["up"],
        ["send", *([source] if source else simulated), "--camera", camera],
        ["audit", "--camera", camera, "--wait", str(wait_seconds)],
    ):
        print(f"\n$ sightline {' '.join(arguments)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "sightline.cli", *arguments], check=False).returncode
        if code:
            raise typer.Exit(code)


def latest(settings: Settings, *, camera: str, count: int = SHOWN_FRAMES) -> list[Seen]:
    """The newest predicted frames of a camera, newest first."""
    from inference.persistence import connect

    columns = tuple(Seen.__dataclass_fields__)
    with connect(settings) as connection:
        rows = connection.execute(_LATEST, (camera, count)).fetchall()
    return [Seen(**dict(zip(columns, row, strict=True))) for row in rows]


def write_contact_sheet(settings: Settings, shown: Sequence[Seen]) -> Path:
    """Draws the frames into <home>/demo/contact-sheet.jpg."""
    from inference.persistence.objects import FrameStore

    store = FrameStore(settings.s3)
    panels = [
        Panel(
            title=f"#{seen.sequence}  {seen.status}  {seen.latency_ms:.0f} ms",
            image=store.get(seen.object_key),
            labels=seen.labels,
            confidences=seen.confidences,
            boxes=seen.boxes,
        )
        for seen in shown
    ]
    file = settings.stack.home / "demo" / "contact-sheet.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(contact_sheet(panels))
    return file


def table(shown: Sequence[Seen]) -> str:
    """The frames as a table for a terminal."""
    page = Table(title=f"the newest {len(shown)} frames")
    for heading in ("frame", "sequence", "model version", "status", "capture to detections", "detections"):
        page.add_column(heading)
    for seen in shown:
        counts = Counter(seen.labels)
        page.add_row(
            seen.frame_id,
            str(seen.sequence),
            seen.model_version,
            seen.status,
            f"{seen.latency_ms:.0f} ms",
            ", ".join(f"{number} {label}" for label, number in sorted(counts.items())) or "none",
        )
    console = Console(width=140)
    with console.capture() as captured:
        console.print(page)
    return captured.get()


def addresses(settings: Settings) -> str:
    """Where to look next."""
    return "\n".join(
        (
            f"models         {settings.mlflow.tracking_uri}",
            f"schemas        {settings.registry.url}",
            f"connectors     {settings.connect.url}/connectors",
            f"objects        {settings.s3.endpoint_url} (bucket {settings.s3.frames_bucket})",
            f"rows           {settings.postgres.host}:{settings.postgres.port}, database {settings.postgres.database}",
            f"topics         {settings.kafka.bootstrap_servers}",
            f"passwords      {settings.stack.home / 'settings.env'}",
            "next           source .venv/bin/activate, then: sightline status · sightline trace FRAME_ID · sightline send --help · sightline down",
        )
    )
