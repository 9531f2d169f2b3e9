"""explain(): the budget in rows really received, partial results, extension, and bad input."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pytest

from blackbox_xai import InvalidInput, OracleError, QueryBudget, TooFewQueries, explain, load, plan
from blackbox_xai.estimators import METHODS
from blackbox_xai.oracles import CallableOracle
from blackbox_xai.players import Columns, ImagePixels, Words
from tests.helpers import Counting, bag_of_words

TEXT = "a good film , really good and not at all long , see it now"
ON_COLUMNS = sorted(m for m in METHODS if not getattr(METHODS[m], "grid_only", False))
ROW = np.arange(1.0, 13.0)


@pytest.mark.parametrize("method", ON_COLUMNS)
@pytest.mark.parametrize("budget", [60, 500, 4096, 5000])
def test_rows_received_never_exceed_the_budget(method: str, budget: int) -> None:
    model = Counting(np.linspace(-1, 1, 12))
    a = explain(model, ROW, budget=budget, baseline=np.zeros(12), method=method, batch_size=50)
    assert model.rows == a.ledger["scored"] <= budget
    assert max(model.sizes) <= 50
    assert a.status == "complete"
    assert np.isfinite(a.values).all()


@pytest.mark.parametrize("method", ["kernelshap", "permutation", "gefa"])
def test_background_rows_and_the_target_query_count(method: str) -> None:
    background = np.random.default_rng(0).normal(size=(100, 12))
    model = Counting(np.stack([np.linspace(-1, 1, 12), np.ones(12)], axis=1))
    a = explain(model, ROW, budget=400, baseline=background, method=method)
    assert model.rows == a.ledger["scored"] <= 400
    every = Counting(np.ones(12))
    b = explain(every, ROW, budget=3300, players=Columns(ROW, background, all_rows=True), method=method)
    assert every.rows == b.ledger["scored"] <= 3300
    assert b.values == pytest.approx(ROW - background.mean(0), abs=1e-9)


def test_background_games_are_estimated_without_bias() -> None:
    background = np.random.default_rng(1).normal(size=(20, 6))
    weights = np.arange(1.0, 7.0)
    truth = weights * (ROW[:6] - background.mean(0))
    runs = [explain(lambda b: b @ weights, ROW[:6], budget=200, baseline=background, seed=s).values for s in range(60)]
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(60)
    assert (np.abs(np.mean(runs, axis=0) - truth) < 4.5 * error + 1e-9).all()


def test_same_seed_same_bits_whatever_the_batches_or_threads() -> None:
    model = bag_of_words({"good": 1.0, "not": -2.0, "long": -0.5})
    results = [
        explain(CallableOracle(model, batch_size=b, parallel=t), TEXT, budget=200, seed=7).values
        for b, t in [(1, 1), (7, 1), (64, 1), (1000, 1), (5, 4)]
    ]
    assert all(np.array_equal(results[0], r) for r in results)
    assert not np.array_equal(results[0], explain(model, TEXT, budget=200, seed=8).values)


def test_a_bag_of_words_is_explained_exactly() -> None:
    a = explain(bag_of_words({"good": 1.0, "not": -2.0}), TEXT, budget=200)
    assert dict(a.top(3)) == pytest.approx({"not": -2.0, "good": 1.0})
    assert a.feature_names == tuple(TEXT.split())
    assert a.residual == pytest.approx(0, abs=1e-12)
    assert a.data == TEXT


def test_the_last_fit_counts_as_time_outside_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    method = METHODS["kernelshap"]
    plain = method.session

    def slow(self: Any, p: Any) -> Any:
        session = plain(self, p)
        solve = session._solve
        session._solve = lambda *told: time.sleep(0.3) or solve(*told)  # type: ignore[func-returns-value,method-assign]
        return session

    monkeypatch.setattr(method, "session", slow)
    a = explain(bag_of_words({"good": 1.0}), TEXT, budget=60, method="kernelshap")
    assert a.ledger["seconds_outside"] >= 0.3 > a.ledger["seconds_model"]


def test_targets() -> None:
    def three(batch: Any) -> Any:
        return np.stack([batch[:, 0], 2 * batch[:, 1], batch.sum(1)], axis=1)

    oracle = CallableOracle(three, output_names=["x", "y", "sum"])
    x, zero = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    ask = dict(budget=8, baseline=zero)
    assert explain(oracle, x, **ask).output_names == ("sum",)
    assert explain(oracle, x, target="y", **ask).values.tolist() == [0, 4, 0]
    assert explain(oracle, x, target=0, **ask).values.tolist() == [1, 0, 0]
    both = explain(oracle, x, target=["y", 0], **ask)
    assert both.values.T.tolist() == [[0, 4, 0], [1, 0, 0]]
    assert both.output("x").values.tolist() == [1, 0, 0]
    assert explain(oracle, x, target="all", **ask).values.shape == (3, 3)
    contrast = explain(oracle, x, target=lambda s: s[:, 2] - s[:, 1], **ask)
    assert contrast.values == pytest.approx([1, -2, 3])
    assert contrast.ledger["scored"] == 8
    for bad, text in [("z", "no output 'z'"), (3, "output 3 does not exist"), (-1, "does not exist"), ([], "empty")]:
        with pytest.raises(InvalidInput, match=text):
            explain(oracle, x, target=bad, **ask)
    with pytest.raises(InvalidInput, match="did you mean 'sum'"):
        explain(oracle, x, target="sun", **ask)


def test_bad_targets_are_refused_before_any_query_where_names_are_known() -> None:
    model = Counting(np.ones((3, 2)))
    with pytest.raises(InvalidInput):
        explain(CallableOracle(model, output_names="ab"), ROW[:3], budget=8, baseline=np.zeros(3), target="c")
    assert model.rows == 0


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (dict(budget=-1), InvalidInput, "whole number of rows"),
        (dict(budget=10.5), InvalidInput, "whole number of rows"),
        (dict(budget=0), TooFewQueries, "below the minimum"),
        (dict(budget=1), TooFewQueries, "none was sent"),
        (dict(method="kernelshp"), InvalidInput, "Did you mean 'kernelshap'"),
        (dict(method=3), InvalidInput, "unknown; there are"),
        (dict(seed=-1), InvalidInput, "seed"),
        (dict(seed=2**64), InvalidInput, "seed"),
        (dict(x=""), InvalidInput, "empty"),
        (dict(x=5.0), InvalidInput, "no way to explain a float"),
        (dict(x=np.ones(3)), InvalidInput, "needs a baseline"),
        (dict(x=np.ones(3), baseline=np.ones(3)), InvalidInput, "equals the input everywhere"),
        (dict(x=np.ones((2, 3)), baseline=np.zeros(3)), InvalidInput, "one row at a time"),
        (dict(players="pixels"), InvalidInput, "image"),
        (dict(on_error="ignore"), InvalidInput, "on_error"),
        (dict(batch_size=0), InvalidInput, "batch_size"),
    ],
)
def test_bad_input_costs_nothing(change: dict[str, Any], error: type[Exception], text: str) -> None:
    calls: list[Any] = []
    arguments = {"x": TEXT, "budget": 100, **change}
    for function in (explain, plan):
        if function is plan and "on_error" in change:
            continue
        with pytest.raises(error, match=text):
            function(lambda b: calls.append(b), arguments["x"], **{k: v for k, v in arguments.items() if k != "x"})
    assert calls == []


def test_one_player() -> None:
    a = explain(bag_of_words({"good": 2.0}), "good", budget=50)
    assert a.values.tolist() == [2.0]
    assert a.ledger["scored"] == 2


def test_players_equal_to_their_baseline_are_dummies_and_cost_nothing() -> None:
    model = Counting([1.0, 5.0, 2.0])
    a = explain(model, np.array([1.0, 3.0, 1.0]), budget=100, baseline=np.array([0.0, 3.0, 0.0]))
    assert a.values.tolist() == [1.0, 0.0, 2.0]
    assert model.rows == 4


def test_failure_on_batch_7_of_9() -> None:
    def run(**options: Any) -> Any:
        model = Counting(np.linspace(-1, 1, 12), fail_at=7)
        return explain(model, ROW, budget=180, baseline=np.zeros(12), batch_size=20, **options)

    a = run()
    assert a.status == "partial: error"
    assert "ValueError: boom on batch 7" in a.error
    assert (a.ledger["answered"], a.ledger["scored"]) == (102, 122)
    assert a.values == pytest.approx(ROW * np.linspace(-1, 1, 12))
    with pytest.raises(OracleError, match="boom"):
        run(on_error="raise")


def test_failure_at_once_raises_and_a_partial_result_goes_on() -> None:
    with pytest.raises(OracleError, match="boom"):
        explain(Counting(np.ones(12), fail_at=1), ROW, budget=100, baseline=np.zeros(12))
    model = Counting(np.ones(12), fail_at=3)
    a = explain(model, ROW, budget=100, baseline=np.zeros(12), batch_size=20)
    b = a.extend(40)
    assert b.status == "complete"
    assert model.rows == b.ledger["scored"] <= 140


def test_interrupt_keeps_what_was_answered() -> None:
    model = Counting(np.linspace(-1, 1, 12), fail_at=5, error=KeyboardInterrupt())
    a = explain(model, ROW, budget=500, baseline=np.zeros(12), batch_size=20)
    assert a.status == "partial: interrupted"
    assert a.ledger["answered"] == 62
    with pytest.raises(KeyboardInterrupt):
        explain(Counting(np.ones(12), fail_at=1, error=KeyboardInterrupt()), ROW, budget=50, baseline=np.zeros(12))


@pytest.mark.parametrize("method", ["kernelshap", "gefa", "permutation", "rise"])
def test_extension_reuses_every_answer_and_equals_the_larger_run(method: str) -> None:
    model = Counting(np.linspace(-1, 1, 12) ** 3)
    a = explain(model, ROW, budget=200, baseline=np.zeros(12), method=method)
    before = model.rows
    b = a.extend(100)
    assert model.rows <= 300
    assert model.rows - before <= 100
    whole = explain(Counting(np.linspace(-1, 1, 12) ** 3), ROW, budget=300, baseline=np.zeros(12), method=method)
    assert np.array_equal(b.values, whole.values)


def test_a_shared_budget_is_one_cap() -> None:
    study = QueryBudget(250, name="study")
    model = Counting(np.ones(12))
    explain(model, ROW, budget=study.child(200), baseline=np.zeros(12))
    b = explain(model, ROW * 2, budget=study, baseline=np.zeros(12))
    assert study.used == model.rows <= 250
    assert b.ledger["budget"] == 50


def test_plan_says_what_explain_sends() -> None:
    for method in ("kernelshap", "permutation", "gefa", "sobol"):
        model = Counting(np.linspace(-1, 1, 12))
        said = plan(model, ROW, budget=333, baseline=np.zeros(12), method=method, batch_size=10)
        assert model.rows == 0
        explain(model, ROW, budget=333, baseline=np.zeros(12), method=method, batch_size=10)
        assert said.rows >= model.rows >= 0.9 * said.rows
        assert said.rows <= 333
        assert said.minimum <= 333
        assert f"{said.rows} of 333 rows" in str(said)


def test_progress_and_until() -> None:
    seen: list[tuple[int, int]] = []
    model = Counting(np.linspace(-1, 1, 12))
    explain(model, ROW, budget=200, baseline=np.zeros(12), batch_size=30, progress=lambda *p: seen.append(p))
    assert seen[-1][0] == 200
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    model = Counting(np.linspace(-1, 1, 12))
    a = explain(model, ROW, budget=2000, baseline=np.zeros(12), batch_size=20, until=lambda e: e.n_rows >= 100)
    assert a.status == "complete: until"
    assert model.rows == a.ledger["scored"] <= 160


def test_save_and_load(tmp_path: Any) -> None:
    text = explain(bag_of_words({"good": 1.0}), TEXT, budget=100)
    image = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    picture = explain(lambda b: b.reshape(len(b), -1).mean(1) / 255, image, budget=50, method="rise", target=0)
    for a, suffix in [(text, ".json"), (text, ".npz"), (picture, ".npz"), (picture, ".json")]:
        path = a.save(tmp_path / f"a{suffix}")
        b = load(path)
        assert np.array_equal(a.values, b.values)
        assert repr(a) == repr(b)
        assert b.feature_names == a.feature_names
        assert (b.ledger, b.provenance) == (a.ledger, a.provenance)
        assert b.layout.keys() == a.layout.keys()
        assert np.array_equal(b.data, a.data)
        with pytest.raises(InvalidInput, match="no model"):
            b.extend(10)
        assert (tmp_path / f"a{suffix}").stat().st_size < 100_000
    assert b.data.dtype == np.uint8
    (tmp_path / "no.json").write_text("[1]")
    with pytest.raises(InvalidInput, match="does not hold an attribution"):
        load(tmp_path / "no.json")
    with pytest.raises(InvalidInput, match=r"\.json or \.npz"):
        a.save(tmp_path / "a.pickle")


def test_pixels_and_segments() -> None:
    image = np.full((32, 48, 3), 200, np.uint8)
    image[8:24, 8:24] = 30

    def dark(batch: Any) -> Any:
        return (255 - batch[:, 8:24, 8:24]).reshape(len(batch), -1).mean(1) / 255

    a = explain(dark, image, budget=400, baseline=200, target=0)
    heat = a.spread()
    assert heat.shape == (32, 48)
    assert (heat[image[..., 0] == 200] == 0).all()  # dummies
    assert heat[8:24, 8:24].mean() > 0
    labels = (np.arange(32)[:, None] // 8) * 6 + np.arange(48)[None] // 8
    from blackbox_xai.players import ImageSegments

    b = explain(dark, image, players=ImageSegments(image, 200, segments=labels), budget=200, target=0)
    assert b.spread()[8:24, 8:24].std() == pytest.approx(0, abs=1e-9)
    assert b.values.sum() == pytest.approx(b.full_values - b.base_values)
    with pytest.raises(InvalidInput, match="does not play single pixels"):
        explain(dark, image, players=ImagePixels(image), method="kernelshap", budget=100)
    with pytest.raises(InvalidInput, match="belong to the Players"):
        explain(bag_of_words({}), TEXT, players=Words(TEXT), baseline="[MASK]", budget=100)


def test_frame_and_interval() -> None:
    a = explain(bag_of_words({"good": 1.0, "film": 0.5}), TEXT, budget=64)
    frame = a.to_frame()
    assert list(frame.columns) == ["player", "output", "value", "std_error"]
    assert len(frame) == len(TEXT.split())
    low, high = a.interval(0.9)
    assert (low <= a.values).all()
    assert (a.values <= high).all()
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        a.interval(95)


def test_no_warning_reaches_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(lambda t: np.zeros(len(t)), TEXT, budget=100)  # constant: no spread at all


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_loaded_attribution_goes_on_where_it_stopped(suffix: str, tmp_path: Any) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"age": [30, 40], "city": ["Rome", "Oslo"], "rate": [0.5, 0.7], "a": [1, 2], "b": [3.0, 4.0]})

    def price(rows: Any) -> Any:
        return rows["age"] * (rows["city"] == "Rome") + rows["rate"] * rows["a"] + rows["b"]

    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    cases: list[tuple[Any, Any, dict[str, Any]]] = [
        (bag_of_words({"good": 1.0, "not": -2.0}), TEXT, {}),
        (price, frame.iloc[[0]], {"baseline": frame.iloc[[1]], "budget": 12}),
        (
            lambda b: np.stack([b[:, :4].mean((1, 2, 3)), b.mean((1, 2, 3))], 1),
            image,
            {"method": "rise", "target": [1, 0]},
        ),
    ]
    for model, x, options in cases:
        seen: list[int] = []

        def counted(batch: Any, model: Any = model, seen: list[int] = seen) -> Any:
            seen.append(len(batch))
            return model(batch)

        a = explain(counted, x, **{"budget": 60, **options})
        b = load(a.save(tmp_path / f"a{suffix}"))
        del seen[:]
        c = b.extend(20, oracle=counted)
        whole = explain(model, x, **{**options, "budget": options.get("budget", 60) + 20})
        assert np.array_equal(c.values, whole.values)
        assert c.ledger["scored"] == a.ledger["scored"] + sum(seen) <= a.ledger["scored"] + 20
    odd = explain(model, x, budget=60, method="rise", target=lambda s: s[:, 0]).save(tmp_path / "b.npz")
    with pytest.raises(InvalidInput, match="no answers"):
        load(odd).extend(5, oracle=model)
