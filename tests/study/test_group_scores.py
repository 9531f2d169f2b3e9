"""Scores over seeds, methods and instances, and scores that explain again: equal to direct calls, billed, resumed."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from blackbox_xai import Attribution, explain, metrics, study
from blackbox_xai.errors import InvalidInput
from blackbox_xai.oracles import CallableOracle, SklearnOracle
from blackbox_xai.players import Columns, ImagePixels
from blackbox_xai.study import SCORES, Cell, Instance, Subject
from blackbox_xai.study.names import EVERY_INSTANCE, EVERY_SEED

GROUPS = ("stability", "agreement", "road", "soundness_dataset", "completeness")


@functools.cache
def flowers():
    """Iris rows and a logistic model, counted; the reference is the linear part of the chosen class."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data = load_iris()
    model = LogisticRegression(max_iter=1000).fit(data.data, data.target)
    return data.data, data.target, model, data.data.mean(axis=0)


def subject(n=6, log=None, labels=True):
    x, y, model, mean = flowers()
    rows = np.linspace(0, len(x) - 1, n).astype(int)

    def reference(instance):
        k = int(model.predict(instance.x[None])[0])
        return Attribution(model.coef_[k] * (instance.x - mean), 0.0, 0.0, kind="table", method="linear", target=[k])

    def counted(batch):
        if log is not None:
            log.append(len(batch))
        return model.predict_proba(batch)

    made = [Instance(f"flower {i}", x[i], baseline=mean, label=int(y[i]) if labels else None) for i in rows]
    return Subject(CallableOracle(counted, identity="iris"), made, {"linear": reference})


def declared(*, log=None, n=6, labels=True, scores=("deletion", *GROUPS), seeds=(0, 1), methods=None, **kw):
    methods = methods or ("kernelshap", "permutation", "random")
    make = functools.partial(subject, n, log, labels)
    return study.Study("groups", make, methods, (8, 14), seeds, scores, **kw)


def numbers(results):
    return {(Cell(r["instance"], r["method"], r["budget"], r["seed"]), r["metric"]): r["value"] for r in results.rows()}


def test_group_scores_equal_the_direct_calls_and_the_bill(tmp_path):
    log: list[int] = []
    s = declared(log=log)
    bill = study.bill(s)
    assert log == []
    assert bill.grouped == (18 + 97 + 10) * 6 * (3 * 2 * 2 + 1)  # a method, budget and seed each; the reference once
    results = study.run(s, tmp_path)
    assert results.failures() == []
    used = results.described()["used"]
    assert sum(log) == used <= bill.total
    found = numbers(results)
    made = subject()
    players = [Columns(i.x, i.baseline) for i in made.instances]
    labels = [i.label for i in made.instances]

    def maps(method, seed):
        return [
            explain(made.oracle, i.x, baseline=i.baseline, budget=8, method=method, seed=seed).values
            for i in made.instances
        ]

    first, second = maps("kernelshap", 0), maps("kernelshap", 1)
    key = Cell(EVERY_INSTANCE, "kernelshap", 8, 1)
    data = metrics.Dataset(made.oracle, players, labels)
    road = metrics.road(data, second)
    assert found[key, "road_gap"] == road.gap
    assert found[key, "road_morf"] == road.area_morf
    complete = metrics.completeness(data, second)
    assert found[key, "completeness_loss"] == complete.mean
    assert found[key, "completeness_removed"] == complete.removed.mean()
    sound = metrics.soundness_dataset(data, second)
    level = 0.8 * data.clean()[:, 1].mean()
    assert found[key, "soundness_dataset"] == sound.at(level)
    name = made.instances[2].name
    alike = metrics.stability([first[2], second[2]])
    assert found[Cell(name, "kernelshap", 8, EVERY_SEED), "stability_spearman"] == alike.spearman
    other = maps("permutation", 0)[2], maps("permutation", 1)[2]
    direct = np.mean([metrics.agreement(a, b).spearman for a, b in zip((first[2], second[2]), other)])
    assert found[Cell(name, "kernelshap", 8, EVERY_SEED), "agreement:permutation"] == pytest.approx(direct, abs=1e-12)
    assert found[Cell(name, "kernelshap", 8, EVERY_SEED), "agreement:kernelshap"] == alike.spearman
    linear = made.references["linear"](made.instances[2]).values
    seen = np.mean([metrics.agreement(a, linear).spearman for a in (first[2], second[2])])
    assert found[Cell(name, "kernelshap", 8, EVERY_SEED), "agreement:linear"] == pytest.approx(seen, abs=1e-12)
    assert (Cell(EVERY_INSTANCE, "linear", 0, 0), "road_gap") in found
    before = len(log)
    assert numbers(study.run(s, tmp_path)) == found
    assert len(log) == before
    assert study.bill(s, results).total == 0


def test_groups_follow_what_is_done_and_are_not_made_twice(tmp_path):
    log: list[int] = []
    part = study.run(declared(log=log), tmp_path / "a", instances=3)
    assert {c.instance for c in part.done()} == {"flower 0", "flower 29", "flower 59", EVERY_INSTANCE}
    three = numbers(part)
    whole = numbers(study.run(declared(log=log), tmp_path / "a"))
    assert (
        three[Cell(EVERY_INSTANCE, "random", 8, 0), "road_morf"]
        != whole[Cell(EVERY_INSTANCE, "random", 8, 0), "road_morf"]
    )
    assert numbers(study.run(declared(), tmp_path / "b")) == whole
    sent = sum(log)
    grown = declared(log=log, methods=("kernelshap", "permutation", "random", "leverageshap"))
    more = numbers(study.run(grown, tmp_path / "a"))
    assert sum(log) - sent < sent / 2  # datasets of the old methods are not sent again
    assert more[Cell("flower 0", "random", 8, EVERY_SEED), "agreement:leverageshap"] is not None
    key = Cell(EVERY_INSTANCE, "random", 8, 0), "road_morf"
    assert more[key] == whole[key]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_change_no_group_score(tmp_path, backend):
    s = declared(n=3, labels=False)
    one = numbers(study.run(s, tmp_path / "one"))
    assert numbers(study.run(s, tmp_path / "two", workers=2, backend=backend)) == one
    assert not np.isnan(one[Cell(EVERY_INSTANCE, "kernelshap", 14, 0), "road_gap"])


def test_group_scores_join_later_where_maps_were_kept(tmp_path):
    study.run(declared(n=3, scores=("deletion",), seeds=(0, 1), keep_maps=0), tmp_path / "none")
    late = study.run(declared(n=3), tmp_path / "none")
    assert late.failures()
    assert all("was not kept" in why for _, why in late.failures())
    study.run(declared(n=3, scores=("deletion", "agreement")), tmp_path / "kept")
    assert study.run(declared(n=3), tmp_path / "kept").failures() == []
    with pytest.raises(InvalidInput, match="2 seeds"):
        declared(seeds=(0,))


def test_every_cell_score_on_one_table(tmp_path):
    names = ("sufficiency", "sparsity", "infidelity", "fidelity", "soundness", "max_sensitivity")
    log: list[int] = []
    k = {"sufficiency": {"k": 2}, "soundness": {"top": 1.0}}
    scores = [SCORES[n](**k.get(n, {})) for n in names]
    s = declared(log=log, n=4, scores=scores, methods=("kernelshap", "random"))
    bill = study.bill(s)
    results = study.run(s, tmp_path)
    assert results.failures() == []
    assert sum(log) == results.described()["used"] <= bill.total
    found = numbers(results)
    numbers_of = {m for (c, m) in found if c.method == "kernelshap"}
    assert numbers_of == {
        "top_k_recovered", "top_k_lost", "gini", "infidelity", "fidelity", "soundness", "soundness_of_random",
        "max_sensitivity", "max_sensitivity_floor",
    }  # fmt: skip
    made = subject(4)
    instance = made.instances[1]
    cell = Cell(instance.name, "kernelshap", 14, 1)
    away = np.abs(instance.x - instance.baseline)

    def explainer(z, seed):
        return explain(
            made.oracle, z * away, baseline=instance.baseline, budget=14, method="kernelshap", seed=seed,
            target=int(made.oracle._predict(instance.x[None])[0].argmax()),
        )  # fmt: skip

    direct = metrics.max_sensitivity(explainer, instance.x / away, radius=0.02, n=3, seed=1)
    assert found[cell, "max_sensitivity"] == pytest.approx(direct.maximum, rel=1e-9)
    assert found[cell, "max_sensitivity_floor"] == pytest.approx(direct.floor, abs=1e-9)
    exact = explainer(instance.x / away, 1).values
    e = metrics.Evaluation(made.oracle, Columns(instance.x, instance.baseline))
    assert found[cell, "soundness"] == metrics.soundness_sample(e, None, exact, top=1.0).at(1.0)


def test_pixels_are_judged_by_tiles_and_under_several_replacements(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)
    weight = np.zeros((28, 28))
    weight[4:12, 4:12] = 1.0

    def model(batch):
        bright = (np.asarray(batch, float).mean(axis=3) * weight).sum(axis=(1, 2)) / weight.sum() / 255
        return np.stack([1 - bright, bright], axis=1)

    instances = [Instance(f"picture {i}", np.roll(image, i, axis=0), target=1, label=1) for i in range(2)]
    made = Subject(CallableOracle(model, identity="bright"), instances)
    scores = [
        SCORES["deletion"](steps=4), SCORES["deletion"](steps=4, replacement="grey"), SCORES["soundness"](tiles=7),
        SCORES["max_sensitivity"](n=1, radius=0.01), SCORES["road"](), "agreement",
    ]  # fmt: skip
    s = study.Study("pixels", made, ("rise", "gefa", "random"), (64,), (0, 1), scores, keep_maps=1)
    bill = study.bill(s)
    results = study.run(s, tmp_path)
    assert results.failures() == []
    assert results.described()["used"] <= bill.total
    found = numbers(results)
    cell = Cell("picture 1", "gefa", 64, 1)
    direct = explain(made.oracle, instances[1].x, budget=64, method="gefa", target=1, seed=1).spread().ravel()
    grey = metrics.deletion(made.oracle, ImagePixels(instances[1].x, "grey"), direct, steps=4, target=1)
    assert found[cell, "deletion_auc:grey"] == grey.auc
    assert found[cell, "deletion_auc"] != grey.auc
    assert 0 <= found[cell, "soundness"] <= 1
    assert found[Cell(EVERY_INSTANCE, "rise", 64, 0), "road_lerf"] <= 1
    page = study.report(tmp_path).read_text()
    assert "Deletion AUC, grey" in page
    assert "Agreement between methods" in page


def test_soundness_of_texts_and_classes_by_choice(tmp_path):
    x, _, model, mean = flowers()
    made = Subject(SklearnOracle(model), [Instance("one", x[0], baseline=mean), Instance("two", x[75], baseline=mean)])
    s = study.Study("chosen", made, ("kernelshap",), (14,), (0,), ("road", "completeness"))
    results = study.run(s, tmp_path)
    assert results.failures() == []
    assert results.described()["used"] <= study.bill(s).total
    text = Subject(made.oracle, [Instance("n", "a text")])
    wrong = dataclasses.replace(s, scores=("road",), subject=text)
    assert "failed" in {r["status"] for r in study.run(wrong, tmp_path / "w").rows()}
    with pytest.raises(InvalidInput, match="is a text or has its own Players"):
        dataclasses.replace(s, scores=("max_sensitivity",), subject=text).made()


def test_group_scores_may_change_places_and_have_replacements(tmp_path):
    first = study.run(declared(n=3, scores=("deletion", "stability", "agreement", "completeness")), tmp_path)
    before = numbers(first)
    other = SCORES["completeness"](replacement="marginal")
    scores = ("deletion", "completeness", other, "agreement", "stability")
    after = numbers(study.run(declared(n=3, scores=scores), tmp_path))
    key = Cell(EVERY_INSTANCE, "kernelshap", 8, 0)
    assert {k: v for k, v in after.items() if not k[1].endswith(":marginal")} == before
    assert (key, "completeness_loss:marginal") in after
    with pytest.raises(InvalidInput, match="named twice"):
        declared(scores=("completeness", "completeness"))
