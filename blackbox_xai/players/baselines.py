"""What absent parts of an image become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Blur:
    """A Gaussian-blurred copy of the image.

    sigma : float or None. Pixels; None means 5 at a side of 224, in proportion to the longer side, at least 2.
    """

    sigma: float | None = None

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        from scipy.ndimage import gaussian_filter

        sigma = max(2.0, max(image.shape[:2]) * 5 / 224) if self.sigma is None else self.sigma
        if not sigma > 0:
            raise InvalidInput(f"Blur: sigma must be > 0 pixels, got {sigma}.")
        blurred = gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="reflect", truncate=3.0)
        return _as_dtype(blurred, image)


@dataclass(frozen=True, slots=True)
class ChannelMean:
    """The image's own mean colour, a channel at a time."""

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        mean = image.reshape(-1, image.shape[2]).mean(axis=0, dtype=np.float64)
        return _as_dtype(np.broadcast_to(mean, image.shape), image)


@dataclass(frozen=True, slots=True)
class Constant:
    """One value, or one a channel, in the image's own units (0..255 for uint8)."""

    value: float | tuple[float, ...] = 0.0

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        value = np.asarray(self.value, np.float64)
        if value.shape not in ((), (image.shape[2],)):
            raise InvalidInput(f"Constant: {value.size} values for {image.shape[2]} channels.")
        return _as_dtype(np.broadcast_to(value, image.shape), image)


def image_baseline(spec: Any, image: NDArray[Any]) -> NDArray[Any]:
    """The baseline image from what a user may write.

    Parameters
    ----------
    spec : None or "blur", "mean", "black", "grey", a number, one number a channel, an image of the same shape, or a
        function image -> image such as ``Blur(sigma=10)``.
    image : (H, W, C).
    """
    named = {"blur": Blur(), "mean": ChannelMean(), "black": Constant(0.0)}
    named["grey"] = Constant(127.0 if image.dtype == np.uint8 else 0.5)
    if spec is None:
        spec = named["blur"]
    elif isinstance(spec, str):
        if spec not in named:
            raise InvalidInput(
                f"baseline {spec!r} is unknown for images; use one of {', '.join(named)}, a number, "
                "a colour, an image, or Blur(sigma=...)."
            )
        spec = named[spec]
    elif np.ndim(spec) == 0 and not callable(spec):
        spec = Constant(float(spec))
    elif not callable(spec) and np.ndim(spec) == 1:
        spec = Constant(tuple(float(v) for v in spec))
    result = np.asarray(spec(image) if callable(spec) else spec)
    if result.shape != image.shape:
        raise InvalidInput(f"baseline: shape {result.shape} differs from the image's {image.shape}.")
    return _as_dtype(result, image)


def _as_dtype(values: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    if image.dtype == np.uint8 and values.dtype != np.uint8:
        values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(values, image.dtype)
