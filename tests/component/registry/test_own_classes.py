from __future__ import annotations

from pathlib import Path

import pytest

from connectors.cameras.boards import CLASSES
from contracts.settings import ReviewSettings, Settings
from inference.batch.export_labels import own_classes
from tests.support.model_store import point, register

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn


def test_the_champions_classes_come_first_and_those_of_the_settings_after_them(empty: Settings, tmp_path: Path) -> None:
    stream = empty.stream.model_copy(update={"cache_folder": tmp_path})
    settings = empty.model_copy(update={"stream": stream, "reviews": ReviewSettings(labels=("scratch", "open"))})
    point(settings, "champion", register(settings))
    assert own_classes(settings) == [*CLASSES, "scratch"]
