"""Errors: each says what happened, where, and what to do; the object carries the numbers."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any


class BlackboxXaiError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidInput(BlackboxXaiError, ValueError):
    """An argument that cannot be used; raised before any query."""


class TooFewQueries(BlackboxXaiError, ValueError):
    """The budget is below the method's minimum; raised before any query.

    Attributes: ``method`` (str), ``needed`` and ``budget`` (coalitions).
    """

    def __init__(self, method: str, needed: int, budget: int, n_players: int) -> None:
        self.method, self.needed, self.budget = method, needed, budget
        super().__init__(
            f"{method}: a budget of {budget} coalitions is below the minimum of {needed} for {n_players} players; "
            f"none was sent. Raise the budget to {needed}, group players, or choose another method."
        )


class BudgetExhausted(BlackboxXaiError):
    """A reservation that the budget does not cover; nothing was sent.

    Attributes: ``asked``, ``left``, ``limit`` in `unit` (rows, unless the cap is one in tokens or money).
    """

    def __init__(self, name: str, asked: float, left: float, limit: float, unit: str = "queries") -> None:
        self.name, self.asked, self.left, self.limit, self.unit = name, asked, left, limit, unit
        super().__init__(
            f"QueryBudget {name!r}: asked for {asked} {unit}, {left} of {limit} left; none was sent. "
            f"Ask for at most {left} or raise the limit."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.asked, self.left, self.limit, self.unit)


class OracleError(BlackboxXaiError):
    """The model failed or answered something unusable.

    Attributes
    ----------
    charged : bool. Whether the model scored, or may have scored, the rows (they then stay spent).
    retry : bool. Whether sending the same rows again can help.
    retry_after_s : float or None. What the server asked us to wait.
    kind : "failed", "timeout" or "unusable" (an answer that cannot be read).
    answered : dict. Rows of the batch that were answered all the same: position -> scores (k,).
    refused : set. Positions of rows that the model did not score, where only part of the batch was; `charged` is
        about the others.
    tokens : (int, int). Input and output tokens that the server says it used.
    """

    def __init__(
        self,
        message: str,
        *,
        charged: bool = True,
        retry: bool = False,
        retry_after_s: float | None = None,
        kind: str = "failed",
        answered: Mapping[int, Any] | None = None,
        refused: Iterable[int] = (),
        tokens: tuple[int, int] = (0, 0),
    ) -> None:
        self.charged, self.retry, self.retry_after_s, self.kind = charged, retry, retry_after_s, kind
        self.answered, self.refused, self.tokens = dict(answered or {}), frozenset(refused), tokens
        super().__init__(message)


class MissingExtra(BlackboxXaiError, ImportError):
    """An optional dependency is not installed; the text says what to type."""


def need(module: str, extra: str, who: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Parameters
    ----------
    module : str. Dotted name, e.g. ``"torch"``.
    extra : str. The extra of this distribution that brings it.
    who : str. The public name that needs it, for the message.

    Raises
    ------
    MissingExtra : the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        raise MissingExtra(f'{who} needs {module}: pip install "blackbox-xai[{extra}]"') from error
