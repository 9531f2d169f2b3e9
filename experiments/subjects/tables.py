"""Tables small enough for exact Shapley values: scikit-learn's own data sets and models fitted here."""

from __future__ import annotations

import numpy as np
from sklearn import datasets
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from blackbox_xai.oracles import SklearnOracle
from blackbox_xai.study import Instance, Subject

KINDS = ("cancer", "wine", "diabetes")


def subject(kind: str = "cancer", instances: int = 20, seed: int = 0) -> Subject:
    """Held-out rows against the mean row: boosting on 12 columns of "cancer", a small network on "wine" (13 columns),
    a forest on "diabetes" (10)."""
    load = {"cancer": datasets.load_breast_cancer, "wine": datasets.load_wine, "diabetes": datasets.load_diabetes}
    bunch = load[kind]()
    x = bunch.data[:, :12] if kind == "cancer" else bunch.data
    order = np.random.default_rng(seed).permutation(len(x))
    held, rest = order[:instances], order[instances:]
    model = {
        "cancer": GradientBoostingClassifier(random_state=0),
        "wine": make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=600, random_state=0)),
        "diabetes": RandomForestRegressor(60, min_samples_leaf=3, random_state=0, n_jobs=1),
    }[kind].fit(x[rest], bunch.target[rest])
    mean = x[rest].mean(axis=0)
    oracle = SklearnOracle(model, identity=f"{kind}-{seed}")
    return Subject(oracle, [Instance(f"{kind} {i}", x[i], baseline=mean) for i in held])
