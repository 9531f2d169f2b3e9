"""Models that count what they really receive."""

from __future__ import annotations

from typing import Any

import numpy as np


class Counting:
    """A linear model of table rows that counts rows and calls and remembers batch sizes."""

    def __init__(self, weights: Any, fail_at: int | None = None, error: BaseException | None = None) -> None:
        self.weights = np.asarray(weights, float)
        self.rows, self.calls, self.sizes = 0, 0, []  # type: int, int, list[int]
        self.fail_at, self.error = fail_at, error

    def __call__(self, batch: Any) -> Any:
        self.calls += 1
        self.rows += len(batch)
        self.sizes.append(len(batch))
        if self.calls == self.fail_at:
            raise self.error or ValueError("boom")
        # not @: its bits depend on a row's place in the batch
        return np.einsum("md,d...->m...", np.asarray(batch, float), self.weights)


def bag_of_words(weights: dict[str, float]) -> Any:
    """A text model: the sum of the weights of the words it sees."""

    def predict(texts: list[str]) -> Any:
        assert isinstance(texts, list)
        return np.array([sum(weights.get(w, 0.0) for w in text.split()) for text in texts])

    return predict
