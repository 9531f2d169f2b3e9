"""Tree ensembles with one baseline row: exact Shapley values and pair interactions in one pass over the
leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """A sum of binary trees over the columns of a row, all nodes in one table.

    Attributes
    ----------
    feature : int32 (nodes,). Column of the split; -1 at a leaf.
    threshold : float64 (nodes,). The left child is taken where the column <= threshold.
    left, right : int32 (nodes,). Children, as places in this table.
    value : float64 (nodes,). What a leaf adds to the sum.
    missing_left : bool (nodes,). Where a missing column (NaN) goes.
    roots : int32 (trees,).
    constant : float. Added to the sum.
    narrow : bool. Columns are rounded to float32 before they are compared (scikit-learn's trees).
    """

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    value: Floats
    missing_left: Bools
    roots: Ints
    constant: float = 0.0
    narrow: bool = False

    @classmethod
    def from_sklearn(cls, model: Any, output: int = 0) -> Forest:
        """A fitted scikit-learn tree model as a sum of trees.

        Parameters
        ----------
        model : DecisionTree*, ExtraTree(s)*, RandomForest*, GradientBoosting* or HistGradientBoosting*.
        output : int. Class (forests: its probability; boosting with several classes: its log-odds score)
            or regression target. A boosted two-class model has one output, the log-odds of the second class.

        Raises
        ------
        InvalidInput : another model, categorical splits, or an initial model that is not constant.
        """
        kind = type(model).__name__
        if kind.startswith("HistGradientBoosting"):
            return _from_histograms(model, output)
        if kind.startswith("GradientBoosting"):
            return _from_boosting(model, output)
        if hasattr(model, "estimators_") and kind.startswith(("RandomForest", "ExtraTrees")):
            trees = [e.tree_ for e in model.estimators_]
        elif hasattr(model, "tree_"):
            trees = [model.tree_]
        else:
            raise InvalidInput(f"Forest.from_sklearn: {kind} is not a scikit-learn tree model this reads.")
        classes = kind.endswith("Classifier")
        return _joined([(t, _leaf_values(t, output, classes) / len(trees)) for t in trees], 0.0)

    def goes_left(self, row: Floats) -> Bools:
        """For every node, whether this row (columns,) takes the left child."""
        row = np.asarray(row, np.float64)
        if self.narrow:
            row = row.astype(np.float32).astype(np.float64)
        column = row[np.maximum(self.feature, 0)]
        return np.where(np.isnan(column), self.missing_left, column <= self.threshold)

    def predict(self, rows: Floats) -> Floats:
        """The sum for each row (m, columns) -> (m,)."""
        rows = np.atleast_2d(np.asarray(rows, np.float64))
        out = np.full(len(rows), self.constant)
        for r, row in enumerate(rows):
            child = np.where(self.goes_left(row), self.left, self.right)
            at = self.roots.copy()
            while np.any(self.feature[at] >= 0):
                at = np.where(self.feature[at] >= 0, child[at], at)
            out[r] += self.value[at].sum()
        return out


def _leaf_values(tree: Any, output: int, classes: bool) -> Floats:
    """Values of one tree's nodes for an output; class shares where the tree classifies."""
    value = np.asarray(tree.value, np.float64)
    if not classes:
        return np.asarray(value[:, output, 0])
    value = value[:, 0, :]
    return np.asarray(value[:, output] / value.sum(axis=1))


def _joined(trees: list[tuple[Any, Floats]], constant: float) -> Forest:
    """Several scikit-learn `Tree` objects with their leaf values in one table."""
    sizes = np.array([t.node_count for t, _ in trees])
    roots = np.cumsum(sizes) - sizes

    def shifted(name: str) -> Ints:
        return np.concatenate([getattr(t, name) + r for (t, _), r in zip(trees, roots)]).astype(np.int32)

    feature = np.concatenate([t.feature for t, _ in trees]).astype(np.int32)
    leaf = np.concatenate([t.children_left for t, _ in trees]) < 0
    missing = [np.asarray(getattr(t, "missing_go_to_left", np.zeros(t.node_count)), bool) for t, _ in trees]
    return Forest(
        np.where(leaf, -1, feature).astype(np.int32),
        np.concatenate([t.threshold for t, _ in trees]),
        shifted("children_left"),
        shifted("children_right"),
        np.concatenate([v for _, v in trees]),
        np.concatenate(missing),
        roots.astype(np.int32),
        constant,
        narrow=True,
    )


def _from_boosting(model: Any, output: int) -> Forest:
    """GradientBoosting*: the initial score and the scaled trees."""
    first = np.zeros((1, model.n_features_in_), np.float32)
    start = np.asarray(model._raw_predict_init(first))
    if not np.array_equal(start, model._raw_predict_init(first + 1)):
        raise InvalidInput("Forest.from_sklearn: the initial model is not constant, so the game is not a tree sum.")
    trees = [row[output].tree_ for row in model.estimators_]
    scaled = [(t, model.learning_rate * np.asarray(t.value[:, 0, 0], np.float64)) for t in trees]
    return _joined(scaled, float(start[0, output]))


def _from_histograms(model: Any, output: int) -> Forest:
    """HistGradientBoosting*: predictors hold scaled leaves and thresholds on the raw columns."""
    nodes = [row[output].nodes for row in model._predictors]
    if any(np.any(n["is_categorical"]) for n in nodes):
        raise InvalidInput("Forest.from_sklearn: categorical splits are not read; encode the columns as numbers.")
    sizes = np.array([len(n) for n in nodes])
    roots = np.cumsum(sizes) - sizes
    joined = np.concatenate(nodes)
    shift = np.repeat(roots, sizes)
    leaf = joined["is_leaf"].astype(bool)
    return Forest(
        np.where(leaf, -1, joined["feature_idx"]).astype(np.int32),
        joined["num_threshold"].astype(np.float64),
        (joined["left"] + shift).astype(np.int32),
        (joined["right"] + shift).astype(np.int32),
        joined["value"].astype(np.float64),
        joined["missing_go_to_left"].astype(bool),
        roots.astype(np.int32),
        float(np.ravel(model._baseline_prediction)[output]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class TreeGame:
    """The game f(z) = forest(z x + (1 - z) baseline), with its exact attributions.

    Attributes
    ----------
    forest : Forest. Or give a scikit-learn model to `TreeGame.of`.
    x, baseline : float64 (d,). The explained row and the row that absent players take.
    """

    forest: Forest
    x: Floats
    baseline: Floats

    @classmethod
    def of(cls, model: Any, x: Floats, baseline: Floats, output: int = 0) -> TreeGame:
        """From a fitted scikit-learn tree model; see `Forest.from_sklearn`."""
        x, baseline = np.asarray(x, np.float64), np.asarray(baseline, np.float64)
        if x.ndim != 1 or x.shape != baseline.shape:
            raise InvalidInput(f"TreeGame: x and baseline must be rows of one length, got {x.shape}, {baseline.shape}.")
        return cls(Forest.from_sklearn(model, output), x, baseline)

    def __call__(self, masks: Bools) -> Floats:
        """Values of coalitions (m, d) -> (m,)."""
        return self.forest.predict(np.where(masks, self.x, self.baseline))

    def shapley(self) -> Floats:
        """Exact Shapley values (d,).

        Each leaf is the indicator that all of P are present and all of N absent: (p-1)! q!/(p+q)! to each of
        P and -p! (q-1)!/(p+q)! to each of N, times its value. Cost: O(leaves depth). Source: interventional
        TreeSHAP with one background row (Lundberg et al. 2020), per-leaf closed form.
        """
        phi, _ = self._read(False)
        return phi

    def pairs(self) -> Floats:
        """Exact Shapley interaction indices of all pairs (d, d), diagonal 0."""
        _, pair = self._read(True)
        return pair

    def _read(self, want_pairs: bool) -> tuple[Floats, Floats]:
        f, d = self.forest, len(self.x)
        depth = 2 + int(_depth(f))
        phi, pair = np.zeros(d), np.zeros((d, d) if want_pairs else (0, 0))
        read_leaves()(
            f.roots, f.feature, f.left, f.right, f.value, f.goes_left(self.x), f.goes_left(self.baseline),
            leaf_shares(depth), phi, pair,
        )  # fmt: skip
        return phi, pair


def _depth(f: Forest) -> int:
    """Longest path of any tree, in splits."""
    at, depth = f.roots, 0
    while len(at := at[f.feature[at] >= 0]):
        at, depth = np.concatenate([f.left[at], f.right[at]]), depth + 1
    return depth


@lru_cache(maxsize=16)
def leaf_shares(size: int) -> Floats:
    """(p-1)! q!/(p+q)! for p >= 1, at [p, q]; (size + 1, size + 1). The share of an absent one is -[q, p]."""
    out = np.zeros((size + 1, size + 1))
    out[1] = 1.0 / np.arange(1, size + 2)
    for p in range(1, size + 1):
        out[p, 0] = 1.0 / p
        for q in range(1, size + 1):  # (p-1)! q!/(p+q)! = q/(p+q) (p-1)! (q-1)!/(p+q-1)!
            out[p, q] = out[p, q - 1] * q / (p + q)
    out.flags.writeable = False
    return out


@lru_cache(maxsize=1)
def read_leaves() -> Callable[..., None]:
    """The compiled pass over all leaves that some coalition reaches; adds to `phi` (d,) and, where not
    empty, `pair`.
    """
    import numba

    @numba.njit(cache=True, nogil=True)
    def read(roots, feature, left, right, value, x_left, b_left, share, phi, pair):  # type: ignore[no-untyped-def]
        room = share.shape[0] + 2
        todo = np.empty((2 * room, 4), np.int64)  # node, path length, player that joins the path, its side
        who, side = np.empty(room, np.int64), np.empty(room, np.int64)
        for root in roots:
            top = 1
            todo[0, 0], todo[0, 1], todo[0, 2], todo[0, 3] = root, 0, -1, 0
            while top > 0:
                top -= 1
                node, n_path = todo[top, 0], todo[top, 1]
                if todo[top, 2] >= 0:
                    who[n_path], side[n_path] = todo[top, 2], todo[top, 3]
                    n_path += 1
                while feature[node] >= 0:
                    dx = left[node] if x_left[node] else right[node]
                    db = left[node] if b_left[node] else right[node]
                    if dx == db:
                        node = dx
                        continue
                    j, known = feature[node], -1
                    for t in range(n_path):
                        if who[t] == j:
                            known = side[t]
                    if known == 1:
                        node = dx
                    elif known == 0:
                        node = db
                    else:
                        todo[top, 0], todo[top, 1], todo[top, 2], todo[top, 3] = db, n_path, j, 0
                        top += 1
                        who[n_path], side[n_path] = j, 1
                        n_path += 1
                        node = dx
                p = 0
                for t in range(n_path):
                    p += side[t]
                q = n_path - p
                v = value[node]
                for t in range(n_path):
                    phi[who[t]] += v * share[p, q] if side[t] == 1 else -v * share[q, p]
                if pair.shape[0] == 0:
                    continue
                for t in range(n_path):
                    for s in range(t):
                        if side[t] == 1 and side[s] == 1:
                            w = v * share[p - 1, q]
                        elif side[t] == 0 and side[s] == 0:
                            w = v * share[q - 1, p]
                        else:  # -(p-1)! (q-1)!/(p+q-1)!
                            w = -v * share[p, q - 1]
                        pair[who[t], who[s]] += w
                        pair[who[s], who[t]] += w

    return read  # type: ignore[no-any-return]
