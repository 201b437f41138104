"""ONNX Runtime on an NVIDIA GPU, in float32.

    gpu environment ─► CUDA libraries from its wheels ─► session on CUDAExecutionProvider ─► is it really there?

ONNX Runtime runs on CPU without a word when CUDA does not come up: the wrong package, a missing library or driver, no
device. Then this engine does not start, unless it was loaded as `onnxruntime-cuda-or-cpu`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnxruntime
import structlog

from contracts.errors import Misconfigured
from inference.engines import read_spec
from inference.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session

_log = structlog.get_logger(__name__)

CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"


def load(folder: Path, *, threads: int, confidence: float | None) -> OnnxRuntimeEngine:
    """See inference.engines.load.

    Raises:
        Misconfigured: likewise, or the session did not come up on a GPU.
    """
    return _load(folder, threads=threads, confidence=confidence, is_cpu_allowed=False)


def load_or_cpu(folder: Path, *, threads: int, confidence: float | None) -> OnnxRuntimeEngine:
    """As `load`, but on CPU where there is no GPU. Its name tells which: predictions carry what really ran."""
    return _load(folder, threads=threads, confidence=confidence, is_cpu_allowed=True)


def _load(folder: Path, *, threads: int, confidence: float | None, is_cpu_allowed: bool) -> OnnxRuntimeEngine:
    spec = read_spec(folder, confidence=confidence)
    why_not = _why_no_cuda()
    if why_not is None:
        session = open_session(folder, threads=threads, providers=[CUDA, CPU])  # CPU for what CUDA has no kernel for
        if CUDA in session.get_providers():
            return OnnxRuntimeEngine(session, spec, name="onnxruntime-cuda")
        why_not = "CUDA did not come up: no device, or its driver or libraries do not fit (the log above says which)"
    if not is_cpu_allowed:
        raise Misconfigured(
            f"the engine onnxruntime-cuda finds no GPU: {why_not}. Mend that, or choose the engine "
            "onnxruntime-cuda-or-cpu to run on CPU until then"
        )
    _log.warning("gpu_missing", reason=why_not, engine="onnxruntime")
    return OnnxRuntimeEngine(open_session(folder, threads=threads, providers=[CPU]), spec)


def _why_no_cuda() -> str | None:
    """What keeps this environment from CUDA, before a session is tried; None where nothing is known to."""
    if CUDA not in onnxruntime.get_available_providers():
        return "this environment has ONNX Runtime for CPU (install the other: uv sync --only-group gpu)"
    onnxruntime.preload_dlls()  # finds the CUDA and cuDNN wheels beside it; the system's libraries serve too
    return None
