"""What absent parts become when an attribution is judged, which should not be what its maker used."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..masks import Masks
from ..players import Columns, ImagePixels, ImageSegments, Players
from ..players.base import Batch, Rows, digest, mask_keys
from ..players.baselines import image_baseline
from ..players.text import Spans
from .imputation import noisy_linear

_IMAGE = ("blur", "mean", "black", "grey", "noise", "noisy_linear", "a number", "a colour", "an image")


def replaced(players: Players, operator: Any, *, background: Any = None, seed: int = 0, noise: float = 0.01) -> Players:
    """The same players with another replacement; the explainer's own stay as they are.

    Parameters
    ----------
    players : ImagePixels, ImageSegments, text spans, or Columns.
    operator : images: "blur", "mean" (of this image), "black", "grey", a number, a colour, an image or
        ``Blur(sigma)``; "noise" (a draw per pixel from `background`'s mean and standard deviation, else this image's);
        "noisy_linear". Text: "remove", or a string such as a mask token. Tables: "mean" (of `background`),
        "marginal" (average over the rows of `background`), "noise" (a fresh draw a row from its mean and standard
        deviation), "gaussian_conditional" (mean given the present columns, plus noise), or a row.
    background : images or rows that "noise", "mean", "marginal" and "gaussian_conditional" learn from.
    seed : int. Of the noises; equal seeds give equal noise to every method judged.
    noise : float. Standard deviation for "noisy_linear", in units of the image scaled to 0..1.

    Returns
    -------
    Players of equal number and names.

    Cost: no query; "marginal" costs ``len(background)`` rows a coalition, all others one.
    """
    if isinstance(players, (ImagePixels, ImageSegments)):
        return _image(players, operator, background, seed, noise)
    if isinstance(players, Spans):
        if not isinstance(operator, str):
            raise InvalidInput(f"replaced: text takes 'remove' or a replacement string, not {operator!r}.")
        other = copy.copy(players)
        other.baseline = None if operator == "remove" else operator
        other._identity = digest("Spans", other.baseline, other.empty)
        return other
    if isinstance(players, Columns):
        return _columns(players, operator, background, seed)
    raise InvalidInput(f"replaced: {type(players).__name__} is not known; make the players with another baseline.")


def _image(players: ImagePixels | ImageSegments, operator: Any, background: Any, seed: int, noise: float) -> Players:
    if isinstance(operator, str) and operator == "noisy_linear":
        return Imputed(players, noise=noise, seed=seed)
    image = players.image
    if isinstance(operator, str) and operator == "noise":
        source = image[None] if background is None else np.asarray(background)
        mean, spread = source.mean(axis=(0, 1, 2)), source.std(axis=(0, 1, 2))
        operator = mean + spread * np.random.Generator(np.random.Philox(key=seed)).standard_normal(image.shape)
    elif isinstance(operator, str) and operator not in ("blur", "mean", "black", "grey"):
        raise InvalidInput(f"replaced: operator {operator!r} is unknown for images; use {', '.join(_IMAGE)}.")
    other = copy.copy(players)
    other.baseline = image_baseline(operator, image)
    other._identity = digest("replaced", players._identity, other.baseline)
    return other


class Imputed(Players):
    """Image players whose absent parts are filled by `noisy_linear`.

    Parameters
    ----------
    players : ImagePixels or ImageSegments.
    noise : float. In units of the image scaled to 0..1. A uint8 image is filled in 0..1, clipped and rounded.
    seed : int.

    Cost: one row a coalition, and one sparse solve (at most .3 s at 224 x 224).
    """

    kind = "image"

    def __init__(self, players: ImagePixels | ImageSegments, *, noise: float = 0.01, seed: int = 0) -> None:
        self.inner, self.noise, self.seed = players, noise, seed
        self.n_players, self.grid, self.names = players.n_players, players.grid, players.names
        self._identity = digest("Imputed", players._identity, noise, seed)

    def realise(self, masks: Masks, rows: Rows, out: Batch | None = None) -> Batch:
        """See `Players.realise`."""
        image = self.inner.image
        scale = 255.0 if image.dtype == np.uint8 else 1.0
        source = image.astype(np.float64) / scale
        clip = (0.0, 1.0) if image.dtype == np.uint8 else None
        dense = masks.dense()[rows].astype(np.float64)
        batch = np.empty((len(rows), *image.shape), image.dtype)
        for row, mask in zip(batch, dense):
            keep = self.inner.spread(mask) > 0
            filled = noisy_linear(source, keep, noise=self.noise, seed=self.seed, clip=clip) * scale
            row[...] = np.rint(filled) if image.dtype == np.uint8 else filled
        return batch

    def keys(self, masks: Masks) -> list[bytes]:
        """See `Players.keys`."""
        return [digest("imputed", self._identity, key) for key in self.inner.keys(masks)]

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Players.spread`."""
        return self.inner.spread(values)

    def dummies(self) -> NDArray[np.bool_]:
        """None: what a pixel becomes depends on the others."""
        return np.zeros(self.n_players, bool)

    def restrict(self, active: NDArray[np.intp]) -> Players:
        """See `Players.restrict`; segments only."""
        return Imputed(self.inner.restrict(active), noise=self.noise, seed=self.seed)  # type: ignore[arg-type]

    def shown(self) -> dict[str, Any]:
        """As the inner players."""
        return self.inner.shown()

    def state(self) -> dict[str, Any]:
        """The inner players' arguments, and the noise."""
        return {**self.inner.state(), "noise": self.noise, "seed": self.seed}

    def row_bytes(self) -> int:
        """Bytes of one image."""
        return self.inner.row_bytes()


def _columns(players: Columns, operator: Any, background: Any, seed: int) -> Players:
    if isinstance(operator, str):
        rows = players.background if background is None else np.atleast_2d(np.asarray(background))
        if rows.ndim != 2 or rows.shape[1] != players.row.shape[1]:
            raise InvalidInput(f"replaced: background {rows.shape} must have {players.row.shape[1]} columns.")
        if operator == "mean":
            return _fixed(players, rows.mean(axis=0, dtype=np.float64)[None])
        if operator == "marginal":
            return _fixed(players, rows)
        if operator in ("noise", "gaussian_conditional"):
            if len(rows) < 2:
                raise InvalidInput(f"replaced: {operator!r} learns from background=, two rows at least.")
            return DrawnColumns(players, rows.astype(np.float64), seed=seed, conditional=operator != "noise")
        raise InvalidInput(
            f"replaced: operator {operator!r} is unknown for tables; use 'mean', 'marginal', 'noise', "
            "'gaussian_conditional', or a row."
        )
    return _fixed(players, np.atleast_2d(np.asarray(operator)))


def _fixed(players: Columns, rows: NDArray[Any]) -> Columns:
    other = copy.copy(players)
    other.background, other.noisy, other.cost = rows, 0, len(rows)
    return other


class DrawnColumns(Columns):
    """Columns whose absent values are drawn afresh for each coalition.

    Parameters
    ----------
    players : Columns of numbers.
    background : float (n, columns). Gives mean, standard deviation and, if `conditional`, covariance (ridge 1e-3).
    seed : int. With the number of absent columns it determines the draw: every method judged meets the same noise.
    conditional : bool. False: independent normal draws. True: the normal law given the present columns.
    """

    def __init__(self, players: Columns, background: NDArray[np.float64], *, seed: int, conditional: bool) -> None:
        self.__dict__.update(players.__dict__)
        self.cost, self.noisy, self.seed = 1, 0, seed
        self.mean, self.deviation = background.mean(axis=0), background.std(axis=0)
        self.covariance = None
        if conditional:
            self.covariance = np.atleast_2d(np.cov(background.T)) + 1e-3 * np.eye(background.shape[1])
        members = [own.tolist() for own in players._owner]
        self._identity = digest("DrawnColumns", players.row, members, background, seed, conditional)

    def keys(self, masks: Masks) -> list[bytes]:
        """Of the masks: equal ones get equal draws."""
        return mask_keys(self._identity, masks)

    def _array(self, masks: Masks, rows: Rows) -> NDArray[Any]:
        present = np.ones((len(rows), self.row.shape[1]), bool)
        dense = masks.dense()[rows]
        for player, own in enumerate(self._owner):
            present[:, own] = dense[:, player, None]
        out = np.repeat(self.row.astype(np.float64), len(rows), axis=0)
        for line, known in zip(out, present):
            absent = ~known
            draw = np.random.Generator(np.random.Philox(key=[self.seed, int(absent.sum())]))
            normal = draw.standard_normal(len(line))[absent]
            if self.covariance is None:
                line[absent] = self.mean[absent] + self.deviation[absent] * normal
            elif absent.any():
                line[absent] = self._given(line, known, absent, normal)
        return out

    def _given(
        self, line: NDArray[Any], known: NDArray[np.bool_], absent: NDArray[np.bool_], normal: NDArray[Any]
    ) -> NDArray[Any]:
        assert self.covariance is not None
        cross = self.covariance[np.ix_(absent, known)]
        gain = np.linalg.solve(self.covariance[np.ix_(known, known)], cross.T).T if known.any() else cross
        left = self.covariance[np.ix_(absent, absent)] - gain @ cross.T
        deviation = np.sqrt(np.maximum(np.diag(left), 0.0))
        drawn: NDArray[Any] = self.mean[absent] + gain @ (line - self.mean)[known] + deviation * normal
        return drawn
