"""What a call leaves open: the method by its name, the players by the input."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np

from .errors import InvalidInput
from .estimators import METHODS
from .estimators.base import Estimator
from .players import Columns, ImagePixels, ImageSegments, Players, Words
from .players.image import as_image


def resolve_method(method: str | Estimator) -> Estimator:
    """A configured estimator from a name.

    Raises
    ------
    InvalidInput : no such method; the text lists them and suggests the nearest.
    """
    if isinstance(method, Estimator):
        return method
    if not isinstance(method, str) or method not in METHODS:
        near = difflib.get_close_matches(str(method), METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidInput(f"method {method!r} is unknown; there are {', '.join(sorted(METHODS))}.{hint}")
    return METHODS[method]()


def automatic(x: Any, players: Any) -> str:
    """The name of the method for an input of which nothing is known yet."""
    if (is_image(x) and players in (None, "pixels")) or getattr(players, "grid", None):
        return "smoothgp"
    return "auto" if "auto" in METHODS else "kernelshap"


def is_image(x: Any) -> bool:
    """Whether `x` is a PIL image or an array (H, W, channels)."""
    return (hasattr(x, "convert") and hasattr(x, "mode")) or (isinstance(x, np.ndarray) and x.ndim == 3)


def make_players(x: Any, players: str | None, baseline: Any, groups: Any, seed: int, *, pixels: bool) -> Players:
    """The parts of `x`, by its type; `pixels`: whether the method can play single pixels."""
    if is_image(x) or players in ("pixels", "segments"):
        if players not in (None, "pixels", "segments"):
            raise InvalidInput(f"players {players!r} does not suit an image; use 'pixels' or 'segments'.")
        image = as_image(x)
        if players == "pixels" or (players is None and pixels):
            return ImagePixels(image, baseline)
        return ImageSegments(image, baseline)
    if isinstance(x, str):
        if players not in (None, "words"):
            raise InvalidInput(f"players {players!r} does not suit a text; use 'words' or a Players object.")
        return Words(x, baseline)
    if players not in (None, "columns"):
        raise InvalidInput(
            f"players {players!r} is unknown; use 'pixels', 'segments', 'words', 'columns', or a Players object."
        )
    if not (hasattr(x, "iloc") or isinstance(x, (np.ndarray, list, tuple))):
        raise InvalidInput(
            f"There is no way to explain a {type(x).__name__}: pass a PIL image or (H, W, 3) array, "
            "a string, or a row of a table (1-D array, Series, one-row DataFrame)."
        )
    return Columns(x, baseline, groups=groups, seed=seed)
