"""What every serving process shows Prometheus of its models: one prefix, base units, no ids of processes in labels."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from inference.serving.served_models import Role, ServedModel

_PREFIX: Final = "sightline_serving"
_OF_ALL: Final = "livemax"  # of the API's processes: one page for all of them


class ServingMetrics:
    """The collectors of one process, in the registry that it serves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._model_info = Gauge(
            f"{_PREFIX}_model_info",
            "The models that are loaded, warm and checked.",
            ["role", "name", "version", "digest", "engine"],
            registry=registry,
            multiprocess_mode=_OF_ALL,
        )
        self._changes = Counter(
            f"{_PREFIX}_changes_total", "Models that were given the role.", ["role"], registry=registry
        )
        self.refused = Counter(
            f"{_PREFIX}_refused_total", "Versions that did not work here.", ["role", "reason"], registry=registry
        )
        self.is_refused = Gauge(
            f"{_PREFIX}_is_refused", "1 while the version that should have the role does not work here.", ["role"],
            registry=registry, multiprocess_mode=_OF_ALL,
        )  # fmt: skip
        self.is_unheard = Gauge(
            f"{_PREFIX}_is_unheard", "1 while those who name the version of the role are away.", ["role"],
            registry=registry, multiprocess_mode=_OF_ALL,
        )  # fmt: skip
        self._batch_images = Gauge(
            f"{_PREFIX}_batch_images", "Images given to the engine at once.", ["role"], registry=registry,
            multiprocess_mode=_OF_ALL,
        )  # fmt: skip
        self._sweep_seconds = Gauge(
            f"{_PREFIX}_sweep_seconds", "Seconds of one call, as measured at the warm-up.", ["role", "images"],
            registry=registry, multiprocess_mode=_OF_ALL,
        )  # fmt: skip
        self._shown: dict[Role, list[tuple[Gauge, tuple[str, ...]]]] = {}

    def show(self, role: Role, model: ServedModel | None) -> None:
        """What has the role from now on."""
        for gauge, labels in self._shown.pop(role, []):
            gauge.labels(*labels).set(0)  # where several processes share a page, a label cannot be taken away
        if model is None:
            return
        self._changes.labels(role).inc()
        version = model.version
        info = (role, version.name, version.version, version.digest, model.engine.name)
        shown = [(self._model_info, info, 1.0), (self._batch_images, (role,), float(model.plan.size))]
        shown += [(self._sweep_seconds, (role, str(size)), seconds) for size, seconds in model.sweep.items()]
        for gauge, labels, value in shown:
            gauge.labels(*labels).set(value)
        self._shown[role] = [(gauge, labels) for gauge, labels, _ in shown]
