"""A data set that export-labels wrote, as a folder that `sightline model train --labelled` reads.

digest ─► s3://<mlflow bucket>/datasets/<model>/<digest>/ ─► --into FOLDER: images/, labels/; every image verified
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from contracts.settings import Settings
from inference.batch.job import Result, Say
from inference.persistence.datasets import fetch_dataset, uri_of

ABOUT: Final = "Fetches a data set that export-labels wrote into a folder that training reads."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's options."""
    parser.add_argument("--digest", required=True, help="of the data set, as export-labels gave it")
    parser.add_argument("--into", type=Path, required=True, help="folder; what is there already is kept")


def run(settings: Settings, given: argparse.Namespace, say: Say) -> Result:
    """Fetches it.

    Raises:
        Rejected: there is no such data set, it is damaged, or it has a class that training does not know.
        Transient: the object store is away.
    """
    manifest = fetch_dataset(settings, uri_of(settings, given.digest), given.into)
    say(f"{len(manifest.images)} images, {manifest.boxes} boxes in {given.into}")
    counts = {"images": len(manifest.images), "labels": manifest.boxes}
    return Result(fields={"digest": manifest.digest, "folder": str(given.into), **counts})
