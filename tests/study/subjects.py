"""Subjects for the study tests: importable, so that they travel to workers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from blackbox_xai.oracles import CallableOracle
from blackbox_xai.study import Instance, Subject


class Game:
    """A curved function of a row; counts rows in a file where one is given, and can fail or burn time."""

    def __init__(
        self, d: int = 24, *, log: str | None = None, fail_on: float | None = None, burn_s: float = 0.0
    ) -> None:
        rng = np.random.default_rng(0)
        self.a, self.b = rng.normal(size=d), rng.normal(size=(d, 6))
        self.log, self.fail_on, self.burn_s = log, fail_on, burn_s

    def __call__(self, batch):
        x = np.asarray(batch, float)
        if self.log is not None:
            with Path(self.log).open("a") as f:
                f.write(f"{os.getpid()} {len(x)}\n")
        if self.fail_on is not None and (x[:, 0] == self.fail_on).any():
            raise RuntimeError("no answer for this row")
        end = time.process_time() + self.burn_s * len(x)
        while time.process_time() < end:
            pass
        # sums in a fixed order: a matrix product's last bits depend on how many rows there are
        line, waves = (x * self.a).sum(axis=1), (x[:, :, None] * self.b).sum(axis=1)
        return np.tanh(line / 3) + np.sin(waves).sum(axis=1) / 4


def subject(n: int = 3, d: int = 24, **options) -> Subject:
    """`n` rows of ones and a bit, against zeros."""
    rows = 1 + np.random.default_rng(1).random((n, d))
    rows[:, 0] = 1 + np.arange(n)
    oracle = CallableOracle(Game(d, **options), identity=f"game-{d}")
    return Subject(oracle, [Instance(f"row {i}", r, baseline=np.zeros(d), target=0) for i, r in enumerate(rows)])


def rows_logged(log: str) -> int:
    """Rows that the model really received."""
    path = Path(log)
    return sum(int(line.split()[1]) for line in path.read_text().splitlines()) if path.exists() else 0
