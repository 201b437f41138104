"""Weights that a training starts from: another training's, or those inside an exported model.

    last.pt, best.pt ─► averaged weights ──────────────────────────────┐
    model.onnx ─► initialisers ─► convolutions with batch norm again ──┴─► the network, where shapes fit

Runs in the `train` environment alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def start_from(model: Any, source: Path, images: NDArray[np.uint8]) -> int:
    """Takes over the weights of a training or of an exported model, where their shapes fit.

    Args:
        model: made by `torch_network.network`, of the same width. A head for other classes keeps its random start.
        source: last.pt, best.pt, model.onnx, or a folder that holds one of them.
        images: [n, side, side] grey, some that will be trained on; a fused model is fitted to them.

    Returns:
        How many tensors were taken over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: nothing in it fits.
    """
    file = _weights_file(source)
    found = _fused(file) if file.suffix == ".onnx" else _averaged(file)
    wanted = model.state_dict()
    taken = {name: value for name, value in found.items() if name in wanted and wanted[name].shape == value.shape}
    if not taken or len(taken) < len(found) // 3:  # a fused model's biases have no place of their own
        raise ValueError(f"{file} fits in {len(taken)} of {len(found)} tensors: give the --width it was trained with")
    model.load_state_dict(taken, strict=False)
    if file.suffix == ".onnx":
        _unfuse(model, found, images)
    return len(taken)


def _weights_file(source: Path) -> Path:
    for name in ("best.pt", "last.pt", "model.onnx"):
        if (source / name).is_file():
            return source / name
    if source.is_file():
        return source
    raise FileNotFoundError(f"{source} is no best.pt, last.pt or model.onnx and holds none: train or export first")


def _averaged(file: Path) -> dict[str, Any]:
    import torch

    content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    weights: dict[str, Any] = content["average"]
    return weights


def _fused(file: Path) -> dict[str, Any]:
    """The initialisers of an exported graph, which carry the names of the layers they come from."""
    import onnx
    import torch

    graph = onnx.load(file).graph
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer if one.name.startswith("model.")}
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _unfuse(model: Any, found: dict[str, Any], images: NDArray[np.uint8]) -> None:
    """Gives every fused convolution its batch norm back, so that it can be trained on.

    An export folds batch norm into the convolution's weights and bias. Its statistics are gone, but any will do that the
    layer really sees: with mean m and variance v measured behind the convolution, scale sqrt(v + eps) and shift
    m + bias give the same output, and training starts where the exported model ended.
    """
    import torch

    fused = {
        name: module for name, module in model.named_modules() if hasattr(module, "bn") and f"{name}.conv.bias" in found
    }
    for name, module in fused.items():
        module.bn.reset_running_stats()
        module.bn.running_var.fill_(1 - module.bn.eps)
        with torch.no_grad():
            module.bn.weight.fill_(1)
            module.bn.bias.copy_(found[f"{name}.conv.bias"])
    seen: dict[str, tuple[Any, Any]] = {}
    hooks = [module.bn.register_forward_pre_hook(_measured(seen, name)) for name, module in fused.items()]
    grey = torch.from_numpy(np.ascontiguousarray(images)).float().div_(255)
    with torch.no_grad():
        model.eval()(grey[:, None].expand(-1, 3, -1, -1))
        for hook in hooks:
            hook.remove()
        for name, module in fused.items():
            mean, variance = seen[name]
            module.bn.running_mean.copy_(mean)
            module.bn.running_var.copy_(variance)
            module.bn.weight.copy_((variance + module.bn.eps).sqrt())
            module.bn.bias.add_(mean)


def _measured(seen: dict[str, tuple[Any, Any]], name: str) -> Any:
    def note(_module: Any, given: Any) -> None:
        seen[name] = (given[0].mean((0, 2, 3)), given[0].var((0, 2, 3)))

    return note
