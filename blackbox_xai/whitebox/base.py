"""What the references share: a module with its preprocessing, as `TorchOracle` takes it, and one answer form."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution import Attribution
from ..errors import InvalidInput, need
from ..game import output_index
from ..oracles.torch_module import ACTIVATIONS, activate, to_input
from ..players.baselines import image_baseline
from ..players.image import as_image

Tensor = Any


class Reference(ABC):
    """A gradient method on a torch module: images (H, W, 3) or a row of numbers (d,).

    Parameters
    ----------
    module : torch.nn.Module. In eval mode while it is used, then as it was.
    preprocess, activation, device, output_names : as in `TorchOracle`.
    batch_size : int. Rows of a forward and backward pass, at most.

    Raises
    ------
    MissingExtra : torch or captum is not installed.
    """

    name: ClassVar[str]

    def __init__(
        self,
        module: Any,
        *,
        preprocess: Callable[[Any], Any] | None = None,
        activation: str | Callable[[Any], Any] | None = None,
        device: str | None = None,
        batch_size: int = 16,
        output_names: Iterable[str] | None = None,
    ) -> None:
        torch = need("torch", "torch", type(self).__name__)
        need("captum", "whitebox", type(self).__name__)
        if not isinstance(module, torch.nn.Module):
            raise InvalidInput(f"{type(self).__name__}: module must be a torch.nn.Module, not {type(module).__name__}.")
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise InvalidInput(f"{type(self).__name__}: activation {activation!r} is none of {', '.join(ACTIVATIONS)}.")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InvalidInput(f"{type(self).__name__}: batch_size must be a whole number >= 1, got {batch_size!r}.")
        first = next(module.parameters(), None)
        self.device = device if device is not None else (str(first.device) if first is not None else "cpu")
        self.output_names = None if output_names is None else tuple(str(n) for n in output_names)
        self.batch_size = batch_size
        self._module, self._preprocess, self._activation = module, preprocess, activation
        self._rows = 0  # rows that went through the module in the run under way

    def __call__(self, x: Any, *, baseline: Any = None, target: Any = None) -> Attribution:
        """Same as `explain`."""
        return self.explain(x, baseline=baseline, target=target)

    def explain(self, x: Any, *, baseline: Any = None, target: Any = None) -> Attribution:
        """Attribute one output to pixels or numbers.

        Parameters
        ----------
        x : image as in `players.image.as_image`, or a row of numbers (d,).
        baseline : images: as in `ImagePixels` (default blur); rows: a row or a number (default 0).
        target : None (the highest score), an index or a name.

        Returns
        -------
        Attribution : players are pixels (channels summed) or numbers. `residual` is what completeness lacks.

        Raises
        ------
        InvalidInput : no such output, or shapes that differ.
        """
        import torch

        begin = time.perf_counter()
        data, other, layout, kind = self._inputs(x, baseline)
        was_training = self._module.training
        self._module.to(self.device).eval()
        self._rows = 0
        try:
            point, start = (to_input(torch.from_numpy(np.array(a[None])).to(self.device), False) for a in (data, other))
            point, start = (t.float() if not t.is_floating_point() else t for t in (point, start))
            with torch.no_grad():
                ends = self._forward(torch.cat([start, point])).double().cpu().numpy()
            k = ends.shape[1]
            chosen = int(np.argmax(ends[1])) if target is None else output_index(target, self.output_names, k)
            values = self._attribute(point, start, chosen)
        finally:
            self._module.train(was_training)
        seconds = time.perf_counter() - begin
        return Attribution(
            values=values.reshape(-1),
            base_values=float(ends[0, chosen]),
            full_values=float(ends[1, chosen]),
            kind=kind,
            data=data if kind == "image" else data.tolist(),
            layout=layout,
            feature_names=None if kind == "image" else tuple(f"input {i}" for i in range(len(data))),
            output_names=(self.output_names[chosen] if self.output_names else f"output {chosen}",),
            target=[chosen],
            method=self.name,
            ledger={"scored": self._rows, "seconds_model": seconds, "seconds_outside": 0.0},
            provenance={"module": type(self._module).__name__},
        )

    def _inputs(self, x: Any, baseline: Any) -> tuple[NDArray[Any], NDArray[Any], dict[str, Any], str]:
        if hasattr(x, "convert") or np.ndim(x) in (2, 3):
            image = as_image(x)
            return image, image_baseline(baseline, image), {"grid": list(image.shape[:2])}, "image"
        row = np.asarray(x, np.float32)
        if row.ndim != 1 or row.size == 0 or not np.isfinite(row).all():
            raise InvalidInput(f"{type(self).__name__}: give an image or a row of finite numbers, got {row.shape}.")
        other = np.asarray(0.0 if baseline is None else baseline, np.float32)
        if other.shape not in ((), row.shape):
            raise InvalidInput(f"{type(self).__name__}: the baseline has shape {other.shape}, the row {row.shape}.")
        return row, np.broadcast_to(other, row.shape).copy(), {}, "table"

    def _forward(self, x: Tensor) -> Tensor:
        """Scores (rows, k) with gradients, rows counted."""
        self._rows += len(x)
        x = x if self._preprocess is None else self._preprocess(x)
        out = self._module(x)
        out = out if self._activation is None else activate(out, self._activation)
        return out[:, None] if out.dim() == 1 else out

    @abstractmethod
    def _attribute(self, x: Tensor, start: Tensor, chosen: int) -> NDArray[np.float64]:
        """Values, (H, W) or (d,), of output `chosen` for x and baseline of shape (1, ...)."""


def summed(values: Tensor) -> NDArray[np.float64]:
    """(1, channels, H, W) to (H, W); (1, d) to (d,)."""
    array: NDArray[np.float64] = values.detach().double().cpu().numpy()[0]
    return array.sum(axis=0) if array.ndim == 3 else array
