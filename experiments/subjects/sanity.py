"""Sanity checks: the same photograph or row through a trained, a randomised, a constant and a rewritten model."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier

from blackbox_xai.oracles import CallableOracle
from blackbox_xai.study import Instance, Subject

MODELS = ("trained", "randomised", "constant", "rewritten")


class Network:
    """A fitted network's forward pass, in sums whose order does not depend on the batch.

    kind : "trained"; "randomised": its weights drawn afresh with the same spread; "constant": always one half;
        "rewritten": hidden units in another place and a layer doubled and halved, the same function bit by bit.
    """

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray], kind: str) -> None:
        self.kind, self.weights, self.biases, self.scale = kind, list(weights), list(biases), 1.0
        if kind == "randomised":
            rng = np.random.default_rng(0)
            self.weights = [rng.normal(0, w.std(), w.shape) for w in weights]
            self.biases = [rng.normal(0, b.std() + 0.1, b.shape) for b in biases]
        if kind == "rewritten":  # powers of two are exact
            self.weights = [2.0 * weights[0], weights[1] / 2.0]
            self.biases = [2.0 * biases[0], biases[1]]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        x = np.asarray(batch, np.float64)
        if self.kind == "constant":
            return np.full((len(x), 1), 0.5)
        hidden = np.maximum((x[:, :, None] * self.weights[0]).sum(axis=1) + self.biases[0], 0.0)
        out = (hidden[:, :, None] * self.weights[1]).sum(axis=1) + self.biases[1]
        return 1.0 / (1.0 + np.exp(-out))


class Models:
    """All of `MODELS` behind one function: the last column of a row says which."""

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
        self.models = [Network(weights, biases, kind) for kind in MODELS]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        batch = np.asarray(batch, np.float64)
        out = np.empty((len(batch), 1))
        for number, model in enumerate(self.models):
            own = batch[:, -1] == number
            if own.any():
                out[own] = model(batch[own, :-1])
        return out


def subject(instances: int = 8) -> Subject:
    """Rows of the breast-cancer table (30 standardised columns) against the mean row, each through every model."""
    data = load_breast_cancer()
    x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    order = np.random.default_rng(0).permutation(len(x))
    held, rest = order[:instances], order[instances:]
    fitted = MLPClassifier((16,), max_iter=800, random_state=0).fit(x[rest], data.target[rest])
    rows = [
        Instance(f"{kind} / row {i}", np.append(x[i], number), baseline=np.append(np.zeros(30), number), target=0)
        for number, kind in enumerate(MODELS)
        for i in held
    ]
    oracle = CallableOracle(Models(fitted.coefs_, fitted.intercepts_), batch_size=256, identity="sanity")
    return Subject(oracle, rows)
