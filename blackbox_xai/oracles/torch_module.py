"""Torch modules."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..errors import InvalidInput, need
from .base import Batch, Floats, Oracle

ACTIVATIONS = ("softmax", "sigmoid")
_turn = threading.Lock()  # on a GPU passes are put into its queue one after the other


class TorchOracle(Oracle):
    """A torch module with its preprocessing.

    Image batches are composed straight into tensors on the module's device. On the first CUDA GPU, with numba's CUDA
    support (extra `cuda`), the pixels never leave it: packed masks, and scores, are all that moves. A batch that does
    not fit into memory is scored in halves.

    Parameters
    ----------
    module : torch.nn.Module. Put into eval mode while it scores and given back as it was.
    preprocess : tensor -> tensor, run on the device. It gets images as floats in 0..1, (rows, channels, H, W)
        (uint8 images (rows, H, W, channels) are converted first), other inputs as they are.
    device : "cpu", "cuda", "cuda:1", ...; default: where the module's parameters are.
    dtype : "float32", "bfloat16" or "float16"; the module is cast once, on the first query.
    channels_last : bool. Memory format of image batches and the module's weights (faster convolutions).
    activation : "softmax", "sigmoid", a function, or None. Applied to the module's output.
    batch_size : int. Rows a forward pass, at most.
    output_names : names of the k outputs.
    identity : str, for an answer store.

    Raises
    ------
    MissingExtra : torch is not installed.
    """

    def __init__(
        self,
        module: Any,
        *,
        preprocess: Callable[[Any], Any] | None = None,
        device: str | None = None,
        dtype: str | None = None,
        channels_last: bool = True,
        activation: str | Callable[[Any], Any] | None = None,
        batch_size: int = 32,
        output_names: Iterable[str] | None = None,
        identity: str | None = None,
    ) -> None:
        torch = need("torch", "torch", "TorchOracle")
        if not isinstance(module, torch.nn.Module):
            raise InvalidInput(f"TorchOracle: module must be a torch.nn.Module, got {type(module).__name__}.")
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise InvalidInput(f"TorchOracle: activation {activation!r} is none of {', '.join(ACTIVATIONS)}.")
        if dtype is not None and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise InvalidInput(f"TorchOracle: dtype {dtype!r} is no torch dtype; try 'float32' or 'bfloat16'.")
        self._configure(batch_size=batch_size, output_names=output_names, identity=identity)
        first = next(module.parameters(), None)
        self.device = device if device is not None else (str(first.device) if first is not None else "cpu")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise InvalidInput(f"TorchOracle: device {self.device!r} asked for, but torch sees no GPU; use 'cpu'.")
        self.name = type(module).__name__
        self.in_flight, self.own_threads = 2, True  # draw and compose the next batch while the model runs
        if self._on_gpu:
            self.parallel = 2  # and put it into the GPU's queue, so that the GPU never waits for us
        self._module, self._preprocess, self._activation = module, preprocess, activation
        self._dtype, self._channels_last = dtype, channels_last
        self._placed = False

    @property
    def _on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def buffer(self, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Batch | None:
        """A tensor on the module's device."""
        import torch

        return torch.empty((rows, *shape), dtype=getattr(torch, dtype.name), device=self.device)

    def _place(self, torch: Any) -> None:
        if self._dtype is not None:
            self._module.to(self.device, getattr(torch, self._dtype))
        else:
            self._module.to(self.device)
        if self._channels_last and any(p.dim() == 4 for p in self._module.parameters()):
            self._module.to(memory_format=torch.channels_last)
        self._placed = True

    def _predict(self, batch: Batch) -> Floats:
        import torch

        with _turn if self._on_gpu else contextlib.nullcontext():
            out = self._forward(torch, batch)
        scores: Floats = out.cpu().numpy()  # on a GPU, waits for the pass
        return scores

    def _forward(self, torch: Any, batch: Batch) -> Any:
        """Scores (rows, k) on the device, float32 or float64."""
        if not self._placed:
            self._place(torch)
        was_training = self._module.training
        self._module.eval()
        try:
            with torch.inference_mode():
                x = batch if isinstance(batch, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(batch))
                x = to_input(x.to(self.device), self._channels_last)
                if self._preprocess is not None:
                    x = self._preprocess(x)
                if self._dtype is not None and x.is_floating_point():
                    x = x.to(getattr(torch, self._dtype))
                out = self._module(x)
                if self._activation is not None:
                    out = activate(out, self._activation)
                return out if out.dtype == torch.float64 else out.float()
        finally:
            self._module.train(was_training)


def to_input(x: Any, channels_last: bool = True) -> Any:
    """uint8 or float images (rows, H, W, channels) to floats (rows, channels, H, W), uint8 scaled to 0..1."""
    import torch

    if x.dim() == 4 and x.shape[-1] in (1, 3):
        x = x.permute(0, 3, 1, 2)  # a view: the data stays channels-last
        if not channels_last:
            x = x.contiguous()
        return x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
    return x.float() if x.dtype == torch.float64 else x


def activate(out: Any, activation: str | Callable[[Any], Any]) -> Any:
    """Apply "softmax", "sigmoid" or a function to a module's output (rows, k)."""
    if callable(activation):
        return activation(out)
    return out.float().softmax(-1) if activation == "softmax" else out.float().sigmoid()
