"""Games with exact Shapley values: tree models on tables, networks, words and superpixels valued on all
coalitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blackbox_xai import exact

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """A game with its exact Shapley values; `value` maps masks (m, d) to (m,)."""

    name: str
    d: int
    value: Callable[[Bools], Floats]
    shapley: Floats


@dataclass(frozen=True)
class Lookup:
    """Values by bit pattern."""

    table: Floats

    def __call__(self, z: Bools) -> Floats:
        return self.table[z @ (1 << np.arange(z.shape[1]))]


@dataclass(frozen=True)
class Composed:
    """A model's method on rows that take `x` where present and `base` where absent; one column of its
    output.
    """

    model: object
    method: str
    x: Floats
    base: Floats
    column: int | None = None

    def __call__(self, z: Bools) -> Floats:
        out = getattr(self.model, self.method)(np.where(z, self.x, self.base))
        return np.asarray(out if self.column is None else out[:, self.column], float)


@dataclass(frozen=True)
class Products:
    """sum_t c_t [all of T_t present]."""

    sets: list
    c: Floats

    def __call__(self, z: Bools) -> Floats:
        return sum(v * z[:, s].all(axis=1) for v, s in zip(self.c, self.sets))


def tabulated(name: str, d: int, value: Callable[[Bools], Floats]) -> Known:
    """Value all 2**d coalitions once; the game is then a lookup."""
    table = np.empty(2**d)
    for at in range(0, 2**d, 1 << 13):
        rows = np.arange(at, min(2**d, at + (1 << 13)))
        table[rows] = value(((rows[:, None] >> np.arange(d)) & 1).astype(bool))
    return Known(name, d, Lookup(table), exact.shapley(table))


def of_trees(name: str, model, rows: Floats, pick: tuple[int, int], method: str, column: int | None = None) -> Known:
    """A tree model at row `pick[0]` with row `pick[1]` as baseline; `method` gives its sum of trees."""
    x, base = rows[pick[0]], rows[pick[1]]
    game = exact.TreeGame.of(model, x, base, column or 0)
    return Known(name, len(x), Composed(model, method, x, base, column), game.shapley())


def _pairs(n: int, seed: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return [tuple(int(v) for v in rng.choice(n, 2, replace=False)) for _ in range(2)]


def tables() -> list[Known]:
    """Tree models on scikit-learn's tables and two wide synthetic ones."""
    from sklearn import datasets, ensemble

    out = []
    x, y = datasets.load_breast_cancer(return_X_y=True)
    m = ensemble.GradientBoostingClassifier(random_state=0).fit(x, y)
    out += [of_trees(f"cancer-gbt30-{i}", m, x, p, "decision_function") for i, p in enumerate(_pairs(len(x), 1))]
    x, y = datasets.load_diabetes(return_X_y=True)
    m = ensemble.GradientBoostingRegressor(max_depth=4, random_state=0).fit(x, y)
    out += [of_trees(f"diabetes-gbt10-{i}", m, x, p, "predict") for i, p in enumerate(_pairs(len(x), 2))]
    x, y = datasets.load_wine(return_X_y=True)
    m = ensemble.RandomForestClassifier(100, random_state=0).fit(x, y)
    for i, p in enumerate(((5, 80), (150, 20))):
        c = int(y[p[0]])
        out.append(of_trees(f"wine-forest13-{i}", m, x, p, "predict_proba", c))
    x, y = datasets.load_digits(return_X_y=True)
    keep = x.std(axis=0) > 0.5
    x = x[:, keep]
    m = ensemble.GradientBoostingClassifier(n_estimators=40, random_state=0).fit(x, y)
    for i, p in enumerate(((0, 1), (500, 777))):
        c = int(y[p[0]])
        out.append(of_trees(f"digits-gbt{x.shape[1]}-{i}", m, x, p, "decision_function", c))
    x, y = datasets.make_friedman1(1000, 100, noise=1.0, random_state=0)
    y = y + 5 * x[:, 10] * x[:, 11] - 4 * np.abs(x[:, 12:20] - 0.5).sum(axis=1)
    m = ensemble.GradientBoostingRegressor(n_estimators=150, max_depth=5, subsample=0.5, random_state=0).fit(x, y)
    out += [of_trees(f"wide-gbt100-{i}", m, x, p, "predict") for i, p in enumerate(_pairs(len(x), 3))]
    x, y = datasets.make_regression(1000, 256, n_informative=60, noise=5.0, random_state=0)
    m = ensemble.RandomForestRegressor(60, max_depth=9, max_features=0.3, random_state=0).fit(x, y)
    out += [of_trees(f"wide-forest256-{i}", m, x, p, "predict") for i, p in enumerate(_pairs(len(x), 4))]
    return out


def networks() -> list[Known]:
    """Neural networks on at most 14 columns, valued on all coalitions."""
    from sklearn import datasets
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    out = []
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x[:, :14])
    m = MLPClassifier(hidden_layer_sizes=(32, 16), max_iter=400, random_state=0).fit(x, y)
    for i, (a, b) in enumerate(_pairs(len(x), 5)):
        c = int(y[a])
        f = lambda z, a=a, b=b, c=c, m=m: m.predict_proba(np.where(z, x[a], x[b]))[:, c]  # noqa: E731
        out.append(tabulated(f"cancer-net14-{i}", 14, f))
    x, y = datasets.load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    m = MLPRegressor(hidden_layer_sizes=(32,), max_iter=2000, random_state=0).fit(x, y)
    for i, (a, b) in enumerate(_pairs(len(x), 6)):
        out.append(tabulated(f"diabetes-net10-{i}", 10, lambda z, a=a, b=b, m=m: m.predict(np.where(z, x[a], x[b]))))
    return out


def superpixels() -> list[Known]:
    """A network on 8x8 digits, players the 16 blocks of 2x2 pixels, absent blocks black."""
    from sklearn import datasets
    from sklearn.neural_network import MLPClassifier

    x, y = datasets.load_digits(return_X_y=True)
    x = x / 16
    m = MLPClassifier(hidden_layer_sizes=(64, 32), max_iter=300, random_state=0).fit(x, y)
    block = (np.arange(8) // 2)[:, None] * 4 + np.arange(8) // 2
    out = []
    for i, a in enumerate((3, 1001)):
        c = int(y[a])
        f = lambda z, a=a, c=c: m.predict_proba(z[:, block.ravel()] * x[a])[:, c]  # noqa: E731
        out.append(tabulated(f"digits-pixels16-{i}", 16, f))
    return out


def words(data: Path | None) -> list[Known]:
    """A network on bags of words, players the words of a sentence, absent words deleted. Needs
    movie_reviews.tsv.
    """
    if data is None or not (data / "movie_reviews.tsv").exists():
        return []
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.neural_network import MLPClassifier

    lines = [line.rstrip("\n").split("\t") for line in (data / "movie_reviews.tsv").open(encoding="utf-8")][1:]
    texts, y = [line[2] for line in lines[:6000]], np.array([int(line[0]) for line in lines[:6000]])
    count = CountVectorizer(max_features=1500, binary=True, ngram_range=(1, 2))
    x = count.fit_transform(texts)
    m = MLPClassifier(hidden_layer_sizes=(24,), max_iter=12, random_state=0).fit(x, y)
    picked = [t.split()[:15] for t in texts if len(t.split()) >= 15]
    out = []
    for i, sentence in enumerate((picked[40], picked[700])):
        w = np.array(sentence)
        f = lambda z, w=w: m.predict_proba(count.transform([" ".join(w[r]) for r in z]))[:, 1]  # noqa: E731
        out.append(tabulated(f"words{len(w)}-{i}", len(w), f))
    return out


def kept_aside() -> list[Known]:
    """Games that no choice was made on: checks, not part of the benchmark's figures."""
    from sklearn import datasets, ensemble
    from sklearn.neural_network import MLPRegressor
    from sklearn.svm import SVC

    rng, out = np.random.default_rng(77), []
    w = rng.normal(size=14)
    out.append(tabulated("saturating14", 14, lambda z: 1 / (1 + np.exp(-2.5 * (z @ w) + 1))))
    w2 = rng.normal(size=13)
    out.append(tabulated("label13", 13, lambda z: (z @ w2 > 0.3) * 1.0))
    x, y = datasets.load_wine(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    m = SVC(gamma=0.1).fit(x, y == 1)
    out.append(tabulated("wine-svm13", 13, lambda z: m.decision_function(np.where(z, x[70], x[10]))))
    a, b = rng.normal(size=(12, 15)), rng.normal(size=12)
    out.append(tabulated("random-net15", 15, lambda z: np.tanh(z @ a.T / 1.5 - 0.3) @ b))
    for d, terms, degree in ((30, 100, 4), (60, 150, 5)):
        sets = [rng.choice(d, rng.integers(1, degree + 1), replace=False) for _ in range(terms)]
        c = rng.normal(size=terms)

        out.append(Known(f"products{d}", d, Products(sets, c), exact.unanimity(d, [list(s) for s in sets], c)))
    x, y = datasets.make_friedman2(1500, noise=20, random_state=1)
    x = np.column_stack([x, rng.normal(size=(1500, 36))])
    t = ensemble.ExtraTreesRegressor(60, min_samples_leaf=3, random_state=0).fit(x, y)
    out.append(of_trees("friedman2-extra40", t, x, (3, 9), "predict"))
    x, y = datasets.make_classification(2000, 150, n_informative=40, n_classes=3, random_state=2)
    h = ensemble.HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(x, y)
    out.append(of_trees("classes-hist150", h, x, (3, 11), "decision_function", 1))
    x, y = datasets.make_regression(800, 12, noise=10, random_state=3)
    n = MLPRegressor(hidden_layer_sizes=(20, 20), max_iter=1000, random_state=1).fit(x, np.sign(y) * np.sqrt(np.abs(y)))
    out.append(tabulated("regression-net12", 12, lambda z: n.predict(np.where(z, x[4], x[90]))))
    return out


def everything(data: Path | None = None) -> list[Known]:
    """The benchmark's games."""
    return [*tables(), *networks(), *superpixels(), *words(data)]
