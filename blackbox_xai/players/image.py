"""Images: pixels or segments as players."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, need
from ..masks import Masks
from .base import Batch, Players, Rows, digest, mask_keys
from .baselines import image_baseline


def as_image(x: Any) -> NDArray[Any]:
    """A picture as an array (H, W, C), uint8 0..255 or float32.

    Parameters
    ----------
    x : PIL image (greyscale and palette become RGB), or array (H, W), (H, W, 1) or (H, W, 3).

    Raises
    ------
    InvalidInput : transparency, 16 bits a channel, NaN, or a shape that is no image.
    """
    if hasattr(x, "convert") and hasattr(x, "mode"):  # PIL, without importing it
        if x.mode in ("RGBA", "LA", "PA") or "transparency" in getattr(x, "info", {}):
            alpha = np.asarray(x.convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                raise InvalidInput(
                    "The image has transparent pixels: flatten it onto a background first, "
                    'e.g. with Image.alpha_composite, then .convert("RGB").'
                )
        if x.mode.startswith(("I", "F")):
            raise InvalidInput(f"The image has mode {x.mode!r} (16 or 32 bits a pixel): scale it to 8 bits first.")
        return np.asarray(x.convert("RGB"))
    image = np.asarray(x)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        hint = " It looks transparent: drop or flatten the alpha channel." if image.shape[-1:] == (4,) else ""
        hint = hint or " Channels come last." if image.ndim == 3 and image.shape[0] in (1, 3) else hint
        raise InvalidInput(f"An image is (H, W), (H, W, 1) or (H, W, 3); got {image.shape}.{hint}")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind not in "f":
        raise InvalidInput(f"An image array is uint8 (0..255) or float; got {image.dtype}. Scale it first.")
    if not np.isfinite(image).all():
        raise InvalidInput("The image holds NaN or infinity.")
    return image.astype(np.float32)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to: a GPU then needs one copy of it for all batches."""
    view = array.view()
    view.flags.writeable = False
    return view


class ImagePixels(Players):
    """Each pixel (all its channels) is a player; absent pixels show the baseline.

    Parameters
    ----------
    image : as in `as_image`.
    baseline : "blur" (default), "mean", "black", "grey", a number, a colour, an image, or e.g. ``Blur(sigma=10)``.
    """

    kind: ClassVar[str] = "image"
    soft = True

    def __init__(self, image: Any, baseline: Any = None) -> None:
        self.image = read_only(as_image(image))
        self.baseline = read_only(image_baseline(baseline, self.image))
        self.form = (self.image.shape, self.image.dtype)
        self.grid = (int(self.image.shape[0]), int(self.image.shape[1]))
        self.n_players = self.grid[0] * self.grid[1]
        self._identity = digest("ImagePixels", self.image, self.baseline)

    def realise(self, masks: Masks, rows: Rows, out: Batch | None = None) -> Batch:
        """See `Players.realise`: uint8 or float32 (rows, H, W, C), levels between 0 and 1 mix linearly."""
        return masks.compose(self.image, self.baseline, out, rows=rows, channels="last")

    def keys(self, masks: Masks) -> list[bytes]:
        """See `Players.keys`."""
        return mask_keys(self._identity, masks)

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(H*W,) to (H, W)."""
        return values.reshape(self.image.shape[:2])

    def dummies(self) -> NDArray[np.bool_]:
        """Pixels whose baseline is the same colour."""
        return cast(NDArray[np.bool_], (self.image == self.baseline).all(axis=2).ravel())

    def contrast(self) -> NDArray[np.float64]:
        """Distance between each pixel and its baseline, mean over the channels, in the image's units."""
        gap = np.abs(self.image.astype(np.float32) - self.baseline.astype(np.float32))
        return cast(NDArray[np.float64], gap.mean(axis=2, dtype=np.float64).ravel())

    def restrict(self, active: NDArray[np.intp]) -> Players:
        """Not used: on a grid dummies stay in play and get 0."""
        raise InvalidInput("ImagePixels: players on a grid are not restricted.")

    def shown(self) -> dict[str, Any]:
        """The picture and its grid."""
        return {"data": self.image, "grid": list(self.image.shape[:2])}

    def state(self) -> dict[str, Any]:
        """See `Players.state`."""
        return {"image": self.image, "baseline": self.baseline}

    def row_bytes(self) -> int:
        """Bytes of one image."""
        return int(self.image.nbytes)


class ImageSegments(Players):
    """Each segment of an image is a player.

    Parameters
    ----------
    image : as in `as_image`.
    baseline : as in `ImagePixels`.
    segments : int label map (H, W), any labels; or a number of SLIC superpixels (default 50).
    """

    kind: ClassVar[str] = "image"

    def __init__(self, image: Any, baseline: Any = None, *, segments: Any = 50) -> None:
        self.image = read_only(as_image(image))
        self.baseline = read_only(image_baseline(baseline, self.image))
        self.form = (self.image.shape, self.image.dtype)
        labels = slic(self.image, int(segments)) if np.ndim(segments) == 0 else np.asarray(segments)
        if labels.shape != self.image.shape[:2]:
            raise InvalidInput(f"ImageSegments: label map {labels.shape}, image {self.image.shape[:2]}.")
        found, dense = np.unique(labels, return_inverse=True)
        self.labels = read_only(dense.reshape(labels.shape).astype(np.int32))
        self.n_players = len(found)
        self._active = np.arange(self.n_players)
        self._identity = digest("ImageSegments", self.image, self.baseline, self.labels)

    def _present(self, masks: Masks) -> NDArray[np.bool_]:
        """(m, all segments): those out of play are present."""
        full = np.ones((len(masks), int(self.labels.max()) + 1), bool)
        full[:, self._active] = masks.dense()
        return full

    def realise(self, masks: Masks, rows: Rows, out: Batch | None = None) -> Batch:
        """See `Players.realise`: uint8 or float32 (rows, H, W, C)."""
        everyone = Masks.from_dense(self._present(masks))
        return everyone.compose(self.image, self.baseline, out, rows=rows, labels=self.labels, channels="last")

    def keys(self, masks: Masks) -> list[bytes]:
        """See `Players.keys`."""
        return mask_keys(self._identity, Masks.from_dense(self._present(masks)))

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(d,) to (H, W): each pixel shows its segment's value."""
        full = np.zeros(int(self.labels.max()) + 1)
        full[self._active] = values
        return cast(NDArray[np.float64], full[self.labels])

    def dummies(self) -> NDArray[np.bool_]:
        """Segments in which image and baseline agree at every pixel."""
        differs = (self.image != self.baseline).any(axis=2)
        count = np.bincount(self.labels.ravel(), weights=differs.ravel(), minlength=int(self.labels.max()) + 1)
        return cast(NDArray[np.bool_], (count == 0)[self._active])

    def restrict(self, active: NDArray[np.intp]) -> Players:
        """See `Players.restrict`."""
        other = object.__new__(ImageSegments)
        other.__dict__.update(self.__dict__)
        other._active, other.n_players = self._active[active], len(active)
        return other

    def shown(self) -> dict[str, Any]:
        """The picture and the label map (player numbers; -1 out of play)."""
        number = np.full(int(self.labels.max()) + 1, -1, np.int32)
        number[self._active] = np.arange(self.n_players)
        return {"data": self.image, "segments": number[self.labels]}

    def state(self) -> dict[str, Any]:
        """See `Players.state`."""
        return {"image": self.image, "baseline": self.baseline, "segments": self.labels}

    def row_bytes(self) -> int:
        """Bytes of one image."""
        return int(self.image.nbytes)


def slic(image: NDArray[Any], n_segments: int) -> NDArray[np.int32]:
    """SLIC superpixels, labels from 0, (H, W)."""
    if n_segments < 2:
        raise InvalidInput(f"ImageSegments: at least 2 segments are needed, got {n_segments}.")
    segmentation = need("skimage.segmentation", "vision", "ImageSegments with SLIC")
    rgb = image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
    labels: NDArray[np.int32] = segmentation.slic(rgb, n_segments=n_segments, compactness=10, start_label=0)
    return labels
