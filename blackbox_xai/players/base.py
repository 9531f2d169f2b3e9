"""What a coalition looks like to the model."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..masks import Masks

Batch = Any
Rows = NDArray[np.intp]


class Players(ABC):
    """Parts of one input that can be present or absent.

    Attributes
    ----------
    kind : "image", "text", "table", "series" or "prompt"; how results are drawn.
    n_players : int.
    grid : (H, W) where the players are the pixels of an image, else None.
    soft : bool. Whether masks may be levels between 0 and 1.
    cost : int. Rows a coalition costs.
    noisy : int. Background rows a coalition's value is drawn from (0: none, values are exact).
    names : tuple of str or None. One a player.
    form : (shape, dtype) of one composed input, or None. Given where inputs are arrays that `realise` can write into an
        oracle's own memory.
    """

    kind: ClassVar[str]
    n_players: int
    grid: tuple[int, int] | None = None
    soft: bool = False
    cost: int = 1
    noisy: int = 0
    names: tuple[str, ...] | None = None
    form: tuple[tuple[int, ...], np.dtype[Any]] | None = None

    @abstractmethod
    def realise(self, masks: Masks, rows: Rows, out: Batch | None = None) -> Batch:
        """Compose model inputs.

        Parameters
        ----------
        masks : m coalitions.
        rows : which of the ``m * cost`` inputs to compose; input ``i * cost + b`` is coalition i on background b.
        out : memory to compose into, on the host or a GPU, or None.

        Returns
        -------
        Batch of ``len(rows)`` inputs, in the form the model takes.
        """

    @abstractmethod
    def keys(self, masks: Masks) -> list[bytes]:
        """Identity of each of the ``m * cost`` inputs, without composing where that is cheaper."""

    @abstractmethod
    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Player values (d,) in the input's shape: (H, W) for images, (d,) where the input has no shape."""

    @abstractmethod
    def dummies(self) -> NDArray[np.bool_]:
        """(d,) True where the player's baseline equals the input, so that it cannot matter."""

    def contrast(self) -> NDArray[np.float64] | None:
        """(d,) >= 0: how much the input changes where each player is absent; None where that has no measure."""
        return None

    @abstractmethod
    def restrict(self, active: NDArray[np.intp]) -> Players:
        """The same input with only the players `active` in play; the others stay as they are."""

    @abstractmethod
    def shown(self) -> dict[str, Any]:
        """What pictures need: ``data`` (the input) and arrays or lists that place the players in it."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Arguments (plain values and arrays) that make these players again through `restore`."""

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Players:
        """Players made from what `state` gave."""
        return cls(**state)

    @abstractmethod
    def row_bytes(self) -> int:
        """Bytes of one composed input, for planning."""


def digest(*parts: Any) -> bytes:
    """32-byte identity of arrays, strings and numbers, exact to the bit."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            h.update(f"{part.dtype.str}{part.shape}".encode())
            h.update(np.ascontiguousarray(part).tobytes())
        else:
            text = repr(part).encode()
            h.update(len(text).to_bytes(8, "little"))
            h.update(text)
    return h.digest()


def mask_keys(identity: bytes, masks: Masks) -> list[bytes]:
    """Keys of coalitions from the packed masks: equal masks of one identity have equal keys."""
    data = np.ascontiguousarray(masks.host().data)
    head = identity + bytes([masks.depth])
    zoom = masks.zoom
    if zoom is None:
        return [hashlib.sha256(head + row.tobytes()).digest() for row in data]
    head += repr((zoom.cells, zoom.grid, zoom.smooth)).encode()
    shift = np.zeros((len(masks), 2), np.int32) if zoom.shift is None else np.ascontiguousarray(zoom.shift)
    return [hashlib.sha256(head + s.tobytes() + row.tobytes()).digest() for s, row in zip(shift, data)]


def at_least_one(n: int, what: str) -> None:
    """Raise if there is no player."""
    if n < 1:
        raise InvalidInput(f"{what}: there is no player to attribute to.")
