"""From a version's number to a model that is ready to serve.

number ─► files here ─► engine ─► a grey image ─► golden images agree ─► batch size measured ─► ServedModel
             │             └──────────┴─────────────────┴─► Rejected or Misconfigured: it never serves
             └─► Transient: MLflow is away, ask again
"""

from __future__ import annotations

import time
from typing import Final, Protocol

import numpy as np

from contracts.errors import Misconfigured, PipelineError
from contracts.logs import get_logger
from contracts.settings import Settings
from inference import engines
from inference.domain.batching import UNMEASURED, BatchPlan, choose
from inference.domain.letterbox import Image
from inference.engines import Engine
from inference.registry.model_version import ModelVersion
from inference.registry.resolve import remember, remembered, resolve_version
from inference.serving import golden, sweep
from inference.serving.served_models import Role, ServedModel

_GREY: Final = 114

_log = get_logger(__name__)


class Loader(Protocol):
    """What the follower loads models with."""

    def fetch(self, number: str) -> ModelVersion:
        """The version, its files verified and here. Raises Transient, Misconfigured."""
        ...

    def ready(self, version: ModelVersion, role: Role) -> ServedModel:
        """The version with its engine, checked and warm. Raises Rejected, Misconfigured: it must not serve."""
        ...

    def last(self) -> ModelVersion | None:
        """The champion that this machine served last."""
        ...

    def keep(self, version: ModelVersion) -> None:
        """Remembers that this champion serves."""
        ...


class RegistryLoader:
    """Loads from MLflow through the local cache."""

    def __init__(self, settings: Settings, *, engine_kind: str, threads: int, plan: BatchPlan | None) -> None:
        self._settings = settings
        self._engine_kind = engine_kind
        self._threads = threads
        self._plan = plan

    def fetch(self, number: str) -> ModelVersion:
        """See Loader."""
        return resolve_version(self._settings, number)

    def ready(self, version: ModelVersion, role: Role) -> ServedModel:
        """See Loader."""
        return make_ready(version, role, engine_kind=self._engine_kind, threads=self._threads, plan=self._plan)

    def last(self) -> ModelVersion | None:
        """See Loader."""
        return remembered(self._settings, self._settings.mlflow.alias)

    def keep(self, version: ModelVersion) -> None:
        """See Loader."""
        remember(self._settings, self._settings.mlflow.alias, version)


def make_ready(
    version: ModelVersion,
    role: Role,
    *,
    engine_kind: str,
    threads: int,
    plan: BatchPlan | None = None,
    is_checked: bool = True,
) -> ServedModel:
    """The version's engine, warm, checked against the golden images, with the batch size that suits it.

    Args:
        version: its files are here.
        role: in which it will serve.
        engine_kind: one of engines.KINDS.
        threads: for inference; 0 = one per core.
        plan: of its batches; None: measured.
        is_checked: False leaves the golden images out, for a folder that a person named (tests, benchmarks).

    Raises:
        Rejected: it does not see in the golden images what the export saw.
        Misconfigured: the files or the engine do not fit.
    """
    begin = time.perf_counter()
    engine = engines.load(engine_kind, version.folder, threads=threads)
    try:
        images = _warmed(engine, version, is_checked=is_checked)
        seconds = sweep.measure(engine, images) if plan is None else {}
    except PipelineError:
        engine.close()
        raise
    except Exception as error:  # what a model's runtime raises has no common root
        engine.close()
        raise Misconfigured(
            f"version {version.version} does not run on {engine.name}: {error}; export the model again"
        ) from error
    plan = plan or (choose(seconds) if seconds else UNMEASURED)
    _log.info(
        "model_loaded", role=role, model_name=version.name, model_version=version.version, digest=version.digest,
        engine=engine.name, batch_images=plan.size, batch_age_seconds=round(plan.age_seconds, 4),
        sweep_seconds={size: round(value, 4) for size, value in seconds.items()},
        seconds=round(time.perf_counter() - begin, 2),
    )  # fmt: skip
    return ServedModel(version=version, engine=engine, role=role, plan=plan, sweep=seconds)


def _warmed(engine: Engine, version: ModelVersion, *, is_checked: bool) -> list[Image]:
    """Images that the engine has seen and can be measured with."""
    engine.warm_up()
    if not engine.needs_pixels or version.folder is None:
        return [np.zeros((1, 1, 3), np.uint8)]  # it does not look
    if not is_checked:
        spec = engines.read_spec(version.folder).input
        return [np.full((spec.height, spec.width, 3), _GREY, np.uint8)]
    expected = golden.read(version.folder)
    golden.check(engine, expected)
    return [one.image for one in expected.images]
