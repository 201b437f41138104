"""The network behind the demo model and what is trained from it: ultralytics' yolo11 at a chosen width.

Runs in the `train` environment alone: ultralytics is AGPL-3.0 and torch is 3 GB. Nothing is downloaded: the architecture
comes from the package's YAML.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ARCHITECTURE: Final = "yolo11n.yaml"
WIDTH: Final = 0.25  # share of yolo11's channels that makes it yolo11n


def stay_offline(folder: Path) -> None:
    """Keeps ultralytics from downloading, installing or reporting anything. Call before the first import of it."""
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_VERBOSE"] = "false"
    os.environ["YOLO_CONFIG_DIR"] = str(folder.resolve())


def network(width: float, classes: Sequence[str]) -> Any:
    """The untrained model, an ultralytics DetectionModel for these classes."""
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    layout = yaml_model_load(ARCHITECTURE)
    layout["scales"]["n"][1] = width
    model: Any = DetectionModel(layout, nc=len(classes), verbose=False)
    model.names = dict(enumerate(classes))
    return model
