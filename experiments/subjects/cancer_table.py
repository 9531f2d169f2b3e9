"""A scikit-learn table: breast-cancer measurements and a random forest, fitted here in a second."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from blackbox_xai.oracles import SklearnOracle
from blackbox_xai.study import Instance, Subject


def subject(instances: int = 4, columns: int = 12) -> Subject:
    """The first `columns` measurements; `instances` held-out rows, explained against the mean of the others."""
    data = load_breast_cancer()
    x = data.data[:, :columns]
    order = np.random.default_rng(0).permutation(len(x))
    held, rest = order[:instances], order[instances:]
    model = RandomForestClassifier(50, random_state=0, n_jobs=1).fit(x[rest], data.target[rest])
    mean = x[rest].mean(axis=0)
    oracle = SklearnOracle(model, identity="breast-cancer-forest")
    return Subject(oracle, [Instance(f"row {i}", x[i], baseline=mean) for i in held])
