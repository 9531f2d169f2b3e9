"""Integrated gradients, SmoothGrad and Grad-CAM on a torch module."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .base import Reference, Tensor, summed


@final
class IntegratedGradients(Reference):
    """Gradients along the straight path from the baseline, times the difference: sums to the score's change.

    Parameters
    ----------
    steps : int, >= 1. Points on the path (Gauss-Legendre), each a forward and a backward pass of one row.
    others : as in `Reference`.

    Cost: ``steps + 2`` rows and gradients. Source: Sundararajan et al. 2017; captum's implementation.
    """

    name: ClassVar[str] = "integrated gradients"

    def __init__(self, module: Any, *, steps: int = 50, **common: Any) -> None:
        super().__init__(module, **common)
        self.steps = _positive(steps, "IntegratedGradients: steps")

    def _attribute(self, x: Tensor, start: Tensor, chosen: int) -> NDArray[np.float64]:
        from captum.attr import IntegratedGradients as Captum

        return summed(
            Captum(self._forward).attribute(
                x, start, target=chosen, n_steps=self.steps, internal_batch_size=self.batch_size
            )
        )


@final
class SmoothGrad(Reference):
    """Gradient averaged over Gaussian noise on the input, times the difference to the baseline.

    Parameters
    ----------
    samples : int. Noisy copies, each a forward and a backward pass of one row.
    sigma : float, > 0. Standard deviation of the noise, as a share of the input's range.
    times_input : bool. False gives the bare averaged gradient, as published.
    seed : int. Of the noise.
    others : as in `Reference`.

    Source: Smilkov et al. 2017. Differs: multiplied by (x - baseline), which gives the units of the score.
    """

    name: ClassVar[str] = "smoothgrad"

    def __init__(
        self,
        module: Any,
        *,
        samples: int = 50,
        sigma: float = 0.15,
        times_input: bool = True,
        seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(module, **common)
        self.samples = _positive(samples, "SmoothGrad: samples")
        if not sigma > 0:
            raise InvalidInput(f"SmoothGrad: sigma must be > 0, got {sigma}.")
        self.sigma, self.times_input, self.seed = float(sigma), times_input, seed

    def _attribute(self, x: Tensor, start: Tensor, chosen: int) -> NDArray[np.float64]:
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        spread = self.sigma * float(x.max() - x.min())
        total = torch.zeros_like(x)
        for at in range(0, self.samples, self.batch_size):
            rows = min(self.batch_size, self.samples - at)
            noise = torch.stack([torch.randn(x.shape[1:], generator=generator) for _ in range(rows)])
            noisy = (x + spread * noise.to(x)).requires_grad_()
            (gradient,) = torch.autograd.grad(self._forward(noisy)[:, chosen].sum(), noisy)
            total += gradient.sum(dim=0, keepdim=True)
        return summed(total / self.samples * ((x - start) if self.times_input else 1.0))


@final
class GradCAM(Reference):
    """Where the last feature maps that speak for the output are active; no baseline, not in units of the score.

    Parameters
    ----------
    layer : module. The convolution (or what follows it) whose maps are used.
    others : as in `Reference`.

    Source: Selvaraju et al. 2017; captum's implementation, upsampled bilinearly. Differs: negative parts are kept.
    """

    name: ClassVar[str] = "grad-cam"

    def __init__(self, module: Any, layer: Any, **common: Any) -> None:
        super().__init__(module, **common)
        self.layer = layer

    def _attribute(self, x: Tensor, start: Tensor, chosen: int) -> NDArray[np.float64]:
        import torch
        from captum.attr import LayerGradCam

        if x.dim() != 4:
            raise InvalidInput("GradCAM needs an image: a row of numbers has no feature maps.")
        maps = LayerGradCam(self._forward, self.layer).attribute(x, target=chosen)
        return summed(torch.nn.functional.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False))


def _positive(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInput(f"{what} must be a whole number >= 1, got {value!r}.")
    return int(value)
