"""A cooperative game: players, a metered oracle, and the output that is explained."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .kernels import dispatch
from .masks import Masks
from .oracles.base import Batch, Oracle
from .oracles.meter import Meter
from .players.base import Players

Floats = NDArray[np.float64]
Target = None | int | str | list[int | str] | Callable[[Floats], Floats]


class Game:
    """Masks to values. The target is fixed by the full coalition's scores, which are asked for first.

    Parameters
    ----------
    players : Players.
    meter : Meter. Counts every row.
    target : None (the highest score of the full coalition), an output's name or index, a list of them, "all",
        or a function scores (m, k) -> (m,) or (m, j).

    Images are composed where the model takes them, see `device_for`; the identities of rows are made from a copy of the
    packed masks on the host.
    """

    def __init__(self, players: Players, meter: Meter, target: Target = None) -> None:
        self.players, self.meter, self.target = players, meter, target
        self.chosen: list[int] | None = None  # output indices, once known
        self.full_scores: Floats | None = None
        self._scalar = True
        device = device_for(players, meter.oracle)
        self._form = players.form if meter.oracle.device in (device, f"{device}:0") else None

    @property
    def batch(self) -> int:
        """Coalitions of one batch."""
        return max(1, self.meter.oracle.batch_size // self.players.cost)

    def values(self, masks: Masks) -> Iterator[tuple[Masks, Floats]]:
        """`stream` of all these masks."""
        return self.stream([masks])

    def stream(self, pieces: Iterable[Masks]) -> Iterator[tuple[Masks, Floats]]:
        """Slices of whole groups, in order, with float64 values (rows,) or (rows, outputs).

        Parameters
        ----------
        pieces : masks in whole groups, taken when there is room for a batch.

        Raises
        ------
        BudgetExhausted, OracleError : what came before was yielded.
        InvalidInput : the model has no such target; only the endpoints were sent.
        """
        cost = self.players.cost
        waiting: deque[Masks] = deque()  # under way: no batch, and so no slice, has rows of two of them
        buffered: list[Floats] = []
        done = have = 0
        for scores in self.meter.stream(self._batches(pieces, waiting)):
            masks = waiting[0]
            group = masks.group if masks.start >= 0 else len(masks)  # endpoints stay together
            buffered.append(np.asarray(scores, np.float64))
            have += len(scores)
            whole = have // cost - (have // cost) % group
            if whole == 0 and have < len(masks) * cost:
                continue
            table = np.concatenate(buffered)
            part, rest = table[: whole * cost], table[whole * cost :]
            buffered, have = [rest], len(rest)
            if whole:
                chunk = masks[done : done + whole]
                done += whole
                if done == len(masks):
                    waiting.popleft()
                    done = 0
                yield chunk, self._values(chunk, part if cost == 1 else part.reshape(whole, cost, -1).mean(axis=1))

    def _batches(
        self, pieces: Iterable[Masks], waiting: deque[Masks]
    ) -> Iterator[tuple[list[bytes], Callable[[NDArray[np.intp]], Batch]]]:
        size = self.meter.oracle.batch_size
        for masks in pieces:
            if len(masks):
                waiting.append(masks)
            host = masks.host()  # once a piece: on a GPU it waits for the model
            for at in range(0, len(masks), self.batch):
                part, copy = masks[at : at + self.batch], host[at : at + self.batch]
                keys = self.players.keys(copy)
                for begin in range(0, len(keys), size):  # one coalition may cost more rows than a batch holds
                    yield keys[begin : begin + size], self._composer(part, copy, begin)

    def _composer(self, masks: Masks, host: Masks, begin: int) -> Callable[[NDArray[np.intp]], Batch]:
        def compose(rows: NDArray[np.intp]) -> Batch:
            out = None if self._form is None else self.meter.oracle.buffer(len(rows), *self._form)
            return self.players.realise(host if out is None else masks, rows + begin, out)

        return compose

    def _values(self, masks: Masks, scores: Floats) -> Floats:
        if masks.start < 0 and masks.start + len(masks) == 0:
            self._fix(scores[-1])
        if callable(self.target):
            values = np.asarray(self.target(scores), np.float64)
            if values.ndim not in (1, 2) or len(values) != len(scores):
                raise InvalidInput(
                    f"target: the function turned scores {scores.shape} into {values.shape}; "
                    "return (rows,) or (rows, outputs)."
                )
            return values
        assert self.chosen is not None
        return scores[:, self.chosen[0]] if self._scalar else scores[:, self.chosen]

    def _fix(self, full: Floats) -> None:
        """Turn the target into output indices, given the full coalition's scores (k,)."""
        if self.full_scores is None:
            self.full_scores = full
        if self.chosen is not None or callable(self.target):
            return
        names, k = self.meter.oracle.output_names, len(full)
        if self.target is None:
            self.chosen = [int(np.argmax(full))]
        elif isinstance(self.target, str) and self.target == "all" and "all" not in (names or ()):
            self.chosen, self._scalar = list(range(k)), False
        elif isinstance(self.target, list):
            self.chosen, self._scalar = [output_index(t, names, k) for t in self.target], False
        else:
            self.chosen = [output_index(self.target, names, k)]

    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs explained."""
        if self.chosen is None:
            return (getattr(self.target, "__name__", "target"),)
        names = self.meter.oracle.output_names
        return tuple(names[i] if names else f"output {i}" for i in self.chosen)


def device_for(players: Players, oracle: Oracle) -> str:
    """Where masks are drawn and inputs composed for this oracle: "cuda" for images and a model on the first GPU that
    our kernels reach, else "cpu".
    """
    return "cpu" if players.form is None else dispatch.nearest(oracle.device)


def output_index(target: Any, names: tuple[str, ...] | None, k: int) -> int:
    """Position of one output, given by name or index.

    Raises
    ------
    InvalidInput : there is no such output; the text names near ones.
    """
    if isinstance(target, str):
        if names and target in names:
            return names.index(target)
        near = difflib.get_close_matches(target, names or (), n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        known = (
            f"The outputs are {', '.join(names[:8])}{', ...' if k > 8 else ''}"
            if names
            else (f"The outputs have no names; give an index 0..{k - 1}")
        )
        raise InvalidInput(f"target: the model has no output {target!r}. {known}{hint}")
    if isinstance(target, (bool, np.bool_)) or not isinstance(target, (int, np.integer)):
        raise InvalidInput(f"target: give a name, an index, a list, 'all' or a function, not {target!r}.")
    if not 0 <= target < k:
        raise InvalidInput(f"target: output {target} does not exist; the model has {k} (0..{k - 1}).")
    return int(target)


def check_target(target: Any, names: tuple[str, ...] | None) -> None:
    """Refuse, before any query, a target that cannot be right."""
    if target is None or callable(target) or target == "all":
        return
    listed = target if isinstance(target, list) else [target]
    if not listed:
        raise InvalidInput("target: the list is empty.")
    for t in listed:
        if isinstance(t, str) and names is None:
            continue  # the oracle may learn its names with the first answer
        output_index(t, names, len(names) if names else max(int(t) + 1, 1) if not isinstance(t, (str, bool)) else 1)
