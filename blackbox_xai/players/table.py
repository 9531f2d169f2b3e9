"""Tables: columns, or groups of columns, as players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import on_numpy
from ..masks import Masks
from .base import Batch, Players, Rows, at_least_one, digest

_BACKGROUND_STREAM = 0xB6  # Philox stream that picks a group's background row


class Columns(Players):
    """Each column of a row, or each group of columns, is a player; absent ones take a baseline row's values.

    Parameters
    ----------
    row : 1-D array, Series, or one-row DataFrame (mixed types allowed). The model gets rows of the same form:
        a 2-D array, or a DataFrame with the same columns and types.
    baseline : one row of the same form, or several (a background set).
    groups : None, or {name: columns} (names or positions); columns not named are players of their own. One-hot
        columns of one variable belong in a group.
    all_rows : bool. With several background rows: score every coalition on every row (cost = number of rows).
        Default: each group of coalitions takes one row, chosen by the seed; unbiased at one row a coalition.
    seed : int. Chooses background rows.
    names : column names, for arrays.

    Raises
    ------
    InvalidInput : no baseline, wrong shapes, NaN in an array, unknown or doubled columns in `groups`.
    """

    kind: ClassVar[str] = "table"

    def __init__(
        self,
        row: Any,
        baseline: Any,
        *,
        groups: Mapping[str, Sequence[Any]] | None = None,
        all_rows: bool = False,
        seed: int = 0,
        names: Sequence[str] | None = None,
    ) -> None:
        if baseline is None:
            raise InvalidInput("A table row needs a baseline: pass baseline=a row, or rows of background data.")
        self._frame = frame_of(row)
        self.row, columns = _rows(row, "row", self._frame)
        if len(self.row) != 1:
            raise InvalidInput(f"Columns: explain one row at a time, got {len(self.row)}.")
        self.background, _ = _rows(baseline, "baseline", self._frame)
        if self.background.shape[1] != self.row.shape[1] or len(self.background) == 0:
            raise InvalidInput(
                f"Columns: the baseline has {self.background.shape[1]} columns in {len(self.background)} rows, "
                f"the row {self.row.shape[1]}."
            )
        self.columns = tuple(str(c) for c in (columns if names is None else names))
        if len(self.columns) != self.row.shape[1]:
            raise InvalidInput(f"Columns: {len(self.columns)} names for {self.row.shape[1]} columns.")
        self.members = _members(self.columns, columns, groups)
        self.names = tuple(self.members)
        self._owner = [np.array(m, np.intp) for m in self.members.values()]
        self.n_players = len(self._owner)
        at_least_one(self.n_players, "Columns")
        several = len(self.background) > 1
        self.cost = len(self.background) if several and all_rows else 1
        self.noisy = len(self.background) if several and not all_rows else 0
        self.seed = seed

    def _backgrounds(self, masks: Masks, rows: Rows) -> NDArray[np.intp]:
        """Background row of each input: all of them in turn, the group's own, or the endpoints' in order."""
        m = len(self.background)
        if self.cost > 1:
            return rows % self.cost
        if m == 1:
            return np.zeros(len(rows), np.intp)
        number = masks.start + rows
        if masks.start < 0:  # empty rows -2, -3, ... walk through the background; the full row (-1) needs none
            return np.where(number == -1, 0, (-2 - number) % m)
        words = on_numpy.philox(
            self.seed, _BACKGROUND_STREAM, (number // masks.group).astype(np.uint64), np.zeros((), np.uint64)
        )[..., 0]
        return (words.astype(np.uint64) * np.uint64(m) >> np.uint64(32)).astype(np.intp)

    def _array(self, masks: Masks, rows: Rows) -> NDArray[Any]:
        present = np.ones((len(rows), self.row.shape[1]), bool)
        dense = masks.dense()[rows // self.cost]
        for player, own in enumerate(self._owner):
            present[:, own] = dense[:, player, None]
        return np.where(present, self.row, self.background[self._backgrounds(masks, rows)])

    def realise(self, masks: Masks, rows: Rows, out: Batch | None = None) -> Batch:
        """See `Players.realise`: (rows, columns), or a DataFrame with the row's columns and types."""
        values = self._array(masks, rows)
        if self._frame is None:
            return values
        import pandas as pd

        return pd.DataFrame(values, columns=self._frame.columns).astype(self._frame.dtypes.to_dict())

    def keys(self, masks: Masks) -> list[bytes]:
        """Of the rows themselves."""
        values = self._array(masks, np.arange(len(masks) * self.cost))
        if values.dtype == object:
            return [digest("table", *row) for row in values.tolist()]
        return [digest("table", row) for row in values]

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unchanged: one value a player."""
        return values

    def dummies(self) -> NDArray[np.bool_]:
        """Players whose columns equal every background row's."""
        same: NDArray[np.bool_] = np.array(
            [[_same(a, b) for a, b in zip(self.row[0], other)] for other in self.background]
        ).min(axis=0)
        return np.array([same[own].all() for own in self._owner])

    def restrict(self, active: NDArray[np.intp]) -> Players:
        """See `Players.restrict`."""
        other = object.__new__(Columns)
        other.__dict__.update(self.__dict__)
        other._owner = [self._owner[i] for i in active]
        other.n_players = len(active)
        assert self.names is not None
        other.names = tuple(self.names[i] for i in active)
        return other

    def shown(self) -> dict[str, Any]:
        """The value shown beside each player's name."""
        values = self.row[0].tolist()
        shown = [values[own[0]] if len(own) == 1 else [values[i] for i in own] for own in self._owner]
        return {"data": shown}

    def state(self) -> dict[str, Any]:
        """See `Players.state`."""
        frame = self._frame
        return {
            "row": self.row,
            "background": self.background,
            "names": list(self.columns),
            "groups": {k: m for k, m in self.members.items() if len(m) > 1},
            "all_rows": self.cost > 1,
            "seed": self.seed,
            "types": None if frame is None else [[c, str(t)] for c, t in frame.dtypes.items()],
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Players:
        """See `Players.restore`; rows of a DataFrame come back as DataFrames of the same types."""
        row, background = (
            a if isinstance(a, np.ndarray) else np.array(a, dtype=object) for a in (state["row"], state["background"])
        )
        if state["types"] is not None:
            import pandas as pd

            types = {c: t for c, t in state["types"]}
            row, background = (pd.DataFrame(a, columns=list(types)).astype(types) for a in (row, background))
        return cls(
            row,
            background,
            groups=state["groups"],
            all_rows=state["all_rows"],
            seed=state["seed"],
            names=state["names"],
        )

    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(self.row.nbytes)


def frame_of(x: Any) -> Any:
    """`x` as a DataFrame if it is one or a Series, else None. Does not import pandas."""
    if hasattr(x, "iloc"):
        return x.to_frame().T.infer_objects() if x.ndim == 1 else x
    return None


def _rows(x: Any, what: str, frame: Any) -> tuple[NDArray[Any], list[Any]]:
    own = frame_of(x)
    if own is not None:
        if frame is not None:
            missing = [c for c in frame.columns if c not in own.columns]
            if missing:
                raise InvalidInput(f"Columns: the {what} lacks the columns {missing}.")
            own = own[frame.columns]
        values = own.to_numpy()
        columns = list(own.columns)
    else:
        values = np.asarray(x)
        values = values[None] if values.ndim == 1 else values
        columns = list(range(values.shape[-1])) if values.ndim else []
    if values.ndim != 2 or values.shape[1] == 0:
        raise InvalidInput(f"Columns: the {what} must be a row or rows of numbers, got shape {values.shape}.")
    if values.dtype.kind in "US":
        values = values.astype(object)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = columns[int(np.argmin(np.isfinite(values).min(axis=0)))]
        raise InvalidInput(f"Columns: the {what} holds NaN or infinity in column {bad!r}. Impute it first.")
    return values, columns


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (a != a and b != b)


def _members(
    names: tuple[str, ...], columns: list[Any], groups: Mapping[str, Sequence[Any]] | None
) -> dict[str, list[int]]:
    """Player name to column positions, in the order of the columns."""
    place: dict[Any, int] = {name: i for i, name in enumerate(names)}
    place.update({c: i for i, c in enumerate(columns)})
    owner: dict[int, str] = {}
    for group, listed in (groups or {}).items():
        for c in listed:
            if c not in place:
                raise InvalidInput(f"Columns: group {group!r} names column {c!r}, which is not in the row.")
            if place[c] in owner:
                raise InvalidInput(f"Columns: column {c!r} is in two groups.")
            owner[place[c]] = group
    out: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        out.setdefault(owner.get(i, name), []).append(i)
    return out
