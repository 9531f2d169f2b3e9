"""The result: one number a player, its uncertainty, what it cost, and what is needed to draw it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput, need

_FORMAT = 1
_ARRAYS = ("values", "base_values", "full_values", "std_error", "interactions")


@dataclass(frozen=True, eq=False)
class Attribution:
    """An explanation, named as users know it from shap.

    Attributes
    ----------
    values : float64 (d,) or (d, k). One a player (and output), in the units of the model's score.
    base_values, full_values : float or (k,). Score with every player absent / present.
    std_error : like `values`, or None where theory gives none.
    interactions : float64 (d, d) or (d, d, k), or None.
    kind : "game", "image", "text", "table", "series" or "prompt".
    data : the input: an image array, a string, a list of column values; None for a bare game.
    layout : where the players lie: {"grid": [H, W]}, {"segments": int (H, W)}, {"spans": [[start, end], ...]}, {}.
    feature_names : tuple of str or None, one a player.
    output_names : tuple of str, the outputs explained.
    target : indices of the outputs explained, or None for a function of the scores.
    method, seed : how it was estimated.
    status : "complete", "complete: until", "partial: budget", "partial: error" or "partial: interrupted".
    error : what went wrong, for partial ones.
    ledger : rows scored, answered, failed, from_store, repeated; batches; seconds_model, seconds_outside; cost.
    diagnostics : plain values of the method's own.
    provenance : versions and settings.
    answers : float64 (coalitions,) or (coalitions, k), every value paid for, endpoints first; None where a coalition
        costs several rows.
    recipe : plain values and arrays from which a loaded attribution can be extended.
    """

    values: NDArray[np.float64]
    base_values: Any
    full_values: Any
    std_error: NDArray[np.float64] | None = None
    interactions: NDArray[np.float64] | None = None
    kind: str = "game"
    data: Any = None
    layout: dict[str, Any] = field(default_factory=dict)
    feature_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] = ("value",)
    target: list[int] | None = None
    method: str = ""
    seed: int = 0
    status: str = "complete"
    error: str = ""
    ledger: dict[str, Any] = field(default_factory=dict)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    answers: NDArray[np.float64] | None = field(default=None, repr=False)
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)
    _extend: Callable[[int, Any], Attribution] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        what = " x ".join(str(n) for n in self.values.shape)
        return (
            f"Attribution({self.method} on {self.kind}, {what} values for {', '.join(self.output_names[:3])}, "
            f"{self.status}, {self.ledger.get('scored', 0)} rows)"
        )

    @property
    def residual(self) -> Any:
        """``full_values - base_values - sum(values)``: what the players' values leave unexplained."""
        return self.full_values - self.base_values - self.values.sum(axis=0)

    def output(self, which: int | str) -> Attribution:
        """One output of several, as an attribution of its own."""
        if self.values.ndim == 1:
            raise InvalidInput("Attribution.output: this attribution explains one output only.")
        if isinstance(which, str) and which not in self.output_names:
            raise InvalidInput(f"Attribution.output: no output {which!r}; there are {', '.join(self.output_names)}.")
        j = self.output_names.index(which) if isinstance(which, str) else range(self.values.shape[1])[which]
        return replace(
            self,
            values=self.values[:, j],
            base_values=float(self.base_values[j]),
            full_values=float(self.full_values[j]),
            output_names=(self.output_names[j],),
            std_error=None if self.std_error is None else self.std_error[:, j],
            interactions=None if self.interactions is None else self.interactions[..., j],
            target=None if self.target is None else [self.target[j]],
            answers=None,
            recipe={},
            _extend=None,
        )

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bounds, each like `values`, from the standard errors and the normal law.

        Raises
        ------
        InvalidInput : the method gives no standard errors, or `level` is not between 0 and 1.
        """
        if self.std_error is None:
            raise InvalidInput(f"{self.method} gives no standard errors, so there is no interval.")
        if not 0 < level < 1:
            raise InvalidInput(f"level must lie between 0 and 1, got {level}.")
        from scipy.stats import norm, t

        freedom = self.diagnostics.get("degrees_of_freedom")
        half = float(t.ppf((1 + level) / 2, freedom) if freedom else norm.ppf((1 + level) / 2))
        return self.values - half * self.std_error, self.values + half * self.std_error

    def spread(self) -> NDArray[np.float64]:
        """Values in the input's shape: (H, W) or (H, W, k) for images, else as they are."""
        v = self.values
        if "grid" in self.layout:
            return v.reshape(*self.layout["grid"], *v.shape[1:])
        if "segments" in self.layout:
            labels = np.asarray(self.layout["segments"])
            inside = (labels >= 0).reshape(labels.shape + (1,) * (v.ndim - 1))
            return np.where(inside, v[np.maximum(labels, 0)], 0.0)
        return v

    def _name(self, player: int) -> str:
        if self.feature_names is not None:
            return self.feature_names[player].strip()
        if "grid" in self.layout:
            width = self.layout["grid"][1]
            return f"pixel ({player // width}, {player % width})"
        return f"segment {player}" if "segments" in self.layout else f"player {player}"

    def top(self, k: int = 10) -> list[tuple[str, float]]:
        """The k players of largest absolute value: (name, value), largest first. One output only."""
        if self.values.ndim != 1:
            raise InvalidInput("Attribution.top: pick one output first, e.g. attribution.output(0).top(5).")
        order = np.argsort(-np.abs(self.values), kind="stable")[:k]
        return [(self._name(int(i)), float(self.values[i])) for i in order]

    def to_frame(self) -> Any:
        """A pandas DataFrame, a row a player (and output)."""
        pd = need("pandas", "demo", "Attribution.to_frame")
        d = len(self.values)
        names = [self._name(i) for i in range(d)]
        values = self.values.reshape(d, -1)
        errors = np.full(values.shape, np.nan) if self.std_error is None else self.std_error.reshape(d, -1)
        frames = [
            pd.DataFrame({"player": names, "output": name, "value": values[:, j], "std_error": errors[:, j]})
            for j, name in enumerate(self.output_names)
        ]
        return pd.concat(frames, ignore_index=True)

    def to_shap(self) -> Any:
        """A ``shap.Explanation``: images (H, W, 3[, k]) with the value spread over the channels, else (d[, k])."""
        shap = need("shap", "test", "Attribution.to_shap")
        if self.kind == "image":
            channels = self.data.shape[2]
            values = self.spread()[:, :, None] / channels
            values = np.repeat(values, channels, axis=2)
            return shap.Explanation(values, base_values=self.base_values, data=self.data)
        names = None if self.feature_names is None else list(self.feature_names)
        data: Any = names if self.kind in ("text", "prompt") else self.data
        if data is not None:
            data = np.array(data, dtype=object if any(isinstance(v, (str, list)) for v in data) else float)
        return shap.Explanation(self.values, base_values=self.base_values, data=data, feature_names=names)

    def extend(self, budget: int, *, oracle: Any = None) -> Attribution:
        """Refine with `budget` more rows; every earlier answer is reused.

        Parameters
        ----------
        budget : int. Rows beyond those already allowed.
        oracle : the model again, for a loaded attribution, which has none; anything ``explain`` takes.

        Raises
        ------
        InvalidInput : there is no model to ask (a loaded attribution without `oracle`), or nothing to go on from.
        """
        if self._extend is not None:
            return self._extend(budget, oracle)
        if oracle is None:
            raise InvalidInput("Attribution.extend: a loaded attribution has no model to ask; pass oracle=...")
        from . import resume

        return resume.extend(self, budget, oracle)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it with matplotlib on `ax` (or a new figure); returns the Axes, never shows."""
        from . import plots

        return plots.plot(self, ax=ax, **options)

    def to_html(self) -> str:
        """A self-contained HTML fragment."""
        from . import report

        return str(report.fragment(self))

    def _repr_html_(self) -> str:
        return self.to_html()

    def save(self, path: str | Path) -> Path:
        """Write to `path`: ``.json`` (numbers as text, exact) or ``.npz`` (smaller, for images). No pickle."""
        path = Path(path)
        if path.suffix not in (".json", ".npz"):
            raise InvalidInput(f"Attribution.save: {path.name!r} must end in .json or .npz.")
        arrays: dict[str, NDArray[Any]] = {}
        plain = {f.name: _strip(getattr(self, f.name), f.name, arrays) for f in fields(self) if f.name[0] != "_"}
        plain["format"] = _FORMAT
        if path.suffix == ".json":
            plain["arrays"] = {
                name: {"dtype": a.dtype.str, "shape": a.shape, "data": a.ravel().tolist()} for name, a in arrays.items()
            }
            path.write_text(json.dumps(plain, allow_nan=True), encoding="utf-8")
        else:
            header = np.frombuffer(json.dumps(plain).encode(), np.uint8)
            np.savez_compressed(path, __header__=header, **{f"a/{k}": v for k, v in arrays.items()})  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls, path: str | Path) -> Attribution:
        """Read what `save` wrote.

        Raises
        ------
        InvalidInput : the file is no attribution, or from a newer version.
        """
        path = Path(path)
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as stored:
                    plain = json.loads(bytes(stored["__header__"]))
                    arrays = {k[2:]: stored[k] for k in stored.files if k.startswith("a/")}
            else:
                plain = json.loads(path.read_text(encoding="utf-8"))
                arrays = {
                    k: np.array(a["data"], np.dtype(a["dtype"])).reshape(a["shape"])
                    for k, a in plain.pop("arrays").items()
                }
            version = plain.pop("format")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{path} does not hold an attribution ({type(error).__name__}: {error}).") from error
        if version > _FORMAT:
            raise InvalidInput(f"{path} was written by a newer version (format {version}); update blackbox-xai.")
        known = {f.name for f in fields(cls)}
        values = {k: _restore(v, arrays) for k, v in plain.items() if k in known}
        for name in ("feature_names", "output_names"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)


def load(path: str | Path) -> Attribution:
    """Read an attribution that ``Attribution.save`` wrote; see `Attribution.load`."""
    return Attribution.load(path)


def _strip(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """JSON-able copy; arrays go to `arrays` and leave a reference."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return [_strip(v, path, arrays) for v in value.tolist()]
        same = next((name for name, a in arrays.items() if a is value), None)  # the photograph is kept once
        arrays[same or path] = value
        return {"__array__": same or path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(k): _strip(v, f"{path}.{k}", arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strip(v, f"{path}.{i}", arrays) for i, v in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _restore(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return arrays[value["__array__"]]
        return {k: _restore(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_restore(v, arrays) for v in value]
    return value
