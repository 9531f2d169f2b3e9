"""Studies: the bill, nesting, resuming, failing, determinism, the report."""

from __future__ import annotations

import csv
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from blackbox_xai import explain, study
from blackbox_xai.errors import BudgetExhausted, InvalidInput
from blackbox_xai.metrics import deletion
from blackbox_xai.players import Columns
from blackbox_xai.study.cells import ChainRun, Desk, Shares
from tests.study.subjects import rows_logged, subject

ROOT = Path(__file__).parents[2]
METHODS = ("kernelshap", "permutation", "random")


def declared(log=None, n=3, budgets=(60, 120), seeds=(0, 1), methods=METHODS, scores=("deletion", "fidelity"), **kw):
    make = functools.partial(subject, n, log=log)
    return study.Study("test", make, methods, budgets, seeds, scores, **kw)


def numbers(results):
    return {(r["instance"], r["method"], r["budget"], r["seed"], r["metric"]): r["value"] for r in results.rows()}


def test_a_study_sends_what_its_bill_says_and_again_nothing(tmp_path):
    log = str(tmp_path / "log")
    s = declared(log)
    bill = study.bill(s)
    assert rows_logged(log) == 0
    results = study.run(s, tmp_path / "out")
    assert rows_logged(log) == bill.total == results.described()["used"]
    assert bill.cells == bill.todo == 36
    sent = {(r["method"], r["budget"]): 0 for r in results.rows()}
    seen = set()
    for r in results.rows():
        key = (r["instance"], r["method"], r["budget"], r["seed"])
        if key not in seen:
            seen.add(key)
            sent[r["method"], r["budget"]] += r["rows_sent"]
    assert {k: v for k, v in sent.items() if k[1]} == bill.explaining
    assert sent["kernelshap", 120] == 6 * 60  # 120 rows continue 60: they pay the difference
    again = study.run(s, tmp_path / "out")
    assert rows_logged(log) == bill.total
    assert numbers(again) == numbers(results)
    assert study.bill(s, results).total == 0


def test_a_cell_equals_the_direct_call_bit_for_bit(tmp_path):
    s = declared(scores=[study.SCORES["deletion"](steps=6)], keep_maps=3, methods=("kernelshap", "permutation", "gefa"))
    results = study.run(s, tmp_path)
    found = numbers(results)
    made = subject(3)
    maps = {cell: arrays["map"] for cell, arrays in results.maps()}
    for instance in made.instances:
        for method in ("kernelshap", "permutation", "gefa"):
            for budget in (60, 120):
                direct = explain(
                    made.oracle, instance.x, baseline=instance.baseline, budget=budget, method=method, target=0, seed=1
                )
                judge = Columns(instance.x, instance.baseline)
                curve = deletion(made.oracle, judge, direct, steps=6, target=0)
                assert found[instance.name, method, budget, 1, "deletion_auc"] == curve.auc
                first = explain(
                    made.oracle, instance.x, baseline=instance.baseline, budget=budget, method=method, target=0, seed=0
                )
                np.testing.assert_array_equal(maps[study.Cell(instance.name, method, budget, 0)], first.values)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_and_backends_change_no_number(tmp_path, backend):
    s = declared(n=2)
    one = numbers(study.run(s, tmp_path / "one"))
    two = study.run(s, tmp_path / "two", workers=2, backend=backend)
    assert numbers(two) == one
    assert two.described()["used"] == study.bill(s).total


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers_gives_the_same(tmp_path):
    distributed = pytest.importorskip("distributed")
    s = declared(n=2)
    one = numbers(study.run(s, tmp_path / "one"))
    code = (
        "import sys; from tests.study.test_study import declared, numbers; from blackbox_xai import study\n"
        "from dask.distributed import Client, LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as c, Client(c):\n"
        "        study.run(declared(n=2), sys.argv[1], workers=2, backend='dask')\n"
    )
    assert distributed is not None
    _script(tmp_path, code, tmp_path / "two")
    assert numbers(study.Results(tmp_path / "two")) == one


@pytest.mark.slow
def test_a_local_ray_gives_the_same(tmp_path):
    pytest.importorskip("ray")
    s = declared(n=2)
    one = numbers(study.run(s, tmp_path / "one"))
    code = (
        "import sys, ray; from tests.study.test_study import declared; from blackbox_xai import study\n"
        "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
        "study.run(declared(n=2), sys.argv[1], workers=2, backend='ray')\n"
        "ray.shutdown()\n"
    )
    _script(tmp_path, code, tmp_path / "two")
    assert numbers(study.Results(tmp_path / "two")) == one


def _script(tmp_path, code, *arguments):
    file = tmp_path / "script.py"
    file.write_text(code)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(file), *map(str, arguments)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]


KILLED = """
import sys
from tests.study.test_study import declared
from blackbox_xai import study
import functools
from tests.study.subjects import subject
make = functools.partial(subject, 2, log=sys.argv[2], burn_s=float(sys.argv[4]))
s = study.Study("test", make, ("kernelshap", "permutation"), (60, 120), (0, 1), ("deletion",))
study.run(s, sys.argv[1], workers=int(sys.argv[3]), store=sys.argv[5] if len(sys.argv) > 5 else None)
"""


@pytest.mark.parametrize(("workers", "with_store"), [(1, False), (2, False), (1, True)])
def test_a_killed_study_resumes_and_ends_the_same(tmp_path, workers, with_store):
    log, out = str(tmp_path / "log"), tmp_path / "out"
    extra = [str(tmp_path / "answers.db")] if with_store else []
    file = tmp_path / "script.py"
    file.write_text(KILLED)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(file), str(out), log, str(workers), "0.002", *extra],
        cwd=ROOT,
        env=env,
        start_new_session=True,
    )
    plain = functools.partial(subject, 2, log=log)
    s = study.Study("test", plain, ("kernelshap", "permutation"), (60, 120), (0, 1), ("deletion",))
    total = study.bill(s).total
    deadline = time.time() + 120
    while rows_logged(log) < total * 0.4 and time.time() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = rows_logged(log)
    assert total * 0.4 <= before < total
    done = len(study.Results(out).done())
    results = study.run(s, out, store=extra[0] if extra else None)
    lost = rows_logged(log) - total
    per_cell = 60 + 25 + 2
    if with_store:  # seeds share their endpoints and scores there
        assert lost <= 64
    else:
        assert 0 <= lost <= workers * per_cell  # what was under way, and no more
    assert len(results.done()) == 16 > done
    clean = study.run(s, tmp_path / "clean")
    assert numbers(results) == numbers(clean)
    assert not (out / "unfinished").exists()


def test_a_chain_that_was_cut_continues_from_its_saved_half(tmp_path):
    log = str(tmp_path / "log")
    study.run(declared(log, n=1, budgets=(60,), seeds=(0,), methods=("kernelshap",)), tmp_path / "out")
    small = rows_logged(log)
    grown = declared(log, n=1, budgets=(60, 120), seeds=(0,), methods=("kernelshap", "gefa"))
    results = study.run(grown, tmp_path / "out")
    whole = study.run(declared(n=1, budgets=(60, 120), seeds=(0,), methods=("kernelshap", "gefa")), tmp_path / "new")
    assert numbers(results) == numbers(whole)
    assert small > 0
    with pytest.raises(InvalidInput, match="another study"):
        study.run(declared(log, n=1, scores=("insertion",)), tmp_path / "out")


def test_the_bill_of_what_is_left_is_what_is_sent(tmp_path):
    """Cells done, chains cut half way, budgets and methods added: the bill stays exact."""
    log = str(tmp_path / "log")
    small = declared(log, n=2, budgets=(60,), methods=("kernelshap", "random"))
    study.run(small, tmp_path / "out")
    grown = declared(log, n=2, budgets=(60, 120), methods=("permutation", "kernelshap", "random"))
    results = study.Results(tmp_path / "out")
    left, before = study.bill(grown, results).total, rows_logged(log)
    assert left == study.bill(grown).total - before + 4 * 60  # kernelshap 60 is done, and its answers are gone
    cover = study.bill(grown, results, whole=True).total
    with pytest.raises(BudgetExhausted):
        study.run(dataclasses.replace(grown, limit=before + cover - 1), tmp_path / "out")
    assert rows_logged(log) == before
    part = study.bill(grown, results, instances=1)
    assert 0 < part.total < left
    cover = study.bill(grown, results, instances=1, whole=True).total
    study.run(dataclasses.replace(grown, limit=before + cover), tmp_path / "out", instances=1)
    assert rows_logged(log) == before + part.total
    study.run(grown, tmp_path / "out")
    assert rows_logged(log) == before + left == results.described()["used"]


def test_a_chain_stopped_between_budgets_is_billed_for_the_difference(tmp_path):
    log = str(tmp_path / "log")
    s = declared(log, n=1, seeds=(0,), methods=("kernelshap",), scores=("sparsity",))
    made = s.made()
    results = study.Results(tmp_path / "out")
    results.begin(made.described(), None)
    desk = Desk(results, tmp_path / "out" / "unfinished")
    Shares(made, desk).prepare(0)
    next(ChainRun(made, desk, next(made.chains())).run(set()))  # the small budget, then the process is gone
    sent = rows_logged(log)
    left = study.bill(s, results).total
    assert (sent, left) == (60, 60)
    study.run(s, tmp_path / "out")
    assert rows_logged(log) == 120


def test_failures_are_recorded_retried_and_stop_nothing(tmp_path):
    bad = study.Study("test", functools.partial(subject, 3, fail_on=2.0), ("kernelshap",), (60,), (0,), ("deletion",))
    results = study.run(bad, tmp_path)
    ((cell, why),) = results.failures()
    assert cell.instance == "row 1"
    assert "no answer for this row" in why
    assert len(results.done()) == 2
    page = study.report(tmp_path).read_text()
    assert "1 failed cells" in page
    good = study.Study("test", functools.partial(subject, 3), ("kernelshap",), (60,), (0,), ("deletion",))
    assert study.run(good, tmp_path).failures() == []


def test_a_budget_too_small_is_in_the_bill_and_fails_alone(tmp_path):
    s = declared(n=1, budgets=(8, 60), methods=("kernelshap", "sobol"), seeds=(0,), scores=("sparsity",))
    refused = study.bill(s).refused
    assert set(refused) >= {("sobol", 8)}
    results = study.run(s, tmp_path)
    assert {(c.method, c.budget) for c, _ in results.failures()} == set(refused)
    assert results.described()["used"] == study.bill(s).total


def test_the_limit_is_checked_before_anything_is_sent(tmp_path):
    log = str(tmp_path / "log")
    total = study.bill(declared(n=1)).total
    with pytest.raises(BudgetExhausted, match="none was sent"):
        study.run(declared(log, n=1, limit=total - 1), tmp_path / "out")
    assert rows_logged(log) == 0
    with pytest.raises(BudgetExhausted):
        study.Results(tmp_path / "out").reserve(10**9)


def test_shapley_and_references_and_winner(tmp_path):
    from blackbox_xai import Attribution
    from blackbox_xai.metrics import exact_shapley

    made = subject(5, 10)

    def reference(instance):
        values = exact_shapley(made.oracle, Columns(instance.x, instance.baseline), target=0)
        return Attribution(values, 0.0, 0.0, kind="table", method="exact")

    full = study.Subject(made.oracle, made.instances, {"exact": reference})
    scores = ("shapley", study.SCORES["reference"](reference="exact"), "sufficiency", "infidelity", "gap", "insertion")
    s = study.Study("test", full, ("kernelshap", "random"), (64, 256), (0, 1), scores)
    results = study.run(s, tmp_path)
    assert results.failures() == []
    found = study.statistics(results.rows())
    error = found.entries["shapley_relative_error"]
    assert error["kernelshap", 256].mean < error["kernelshap", 64].mean < 0.3 < error["random", 64].mean
    assert error["kernelshap", 64].winner
    assert not error["random", 64].winner
    assert found.references["shapley_relative_error"]["exact"].mean == 0
    assert found.references["reference_cosine"]["exact"].mean == pytest.approx(1)
    assert found.entries["reference_cosine"]["kernelshap", 256].mean > 0.99


def test_the_bill_of_texts_counts_equal_strings_once(tmp_path):
    from blackbox_xai.oracles import CallableOracle

    sent = []

    def model(batch):
        sent.extend(batch)
        return [t.count("good") - t.count("bad") + 0.1 * len(t.split()) for t in batch]

    texts = ["good good film", "a bad bad bad and long long film with good music"]
    made = study.Subject(CallableOracle(model, batch_size=8), [study.Instance(t, t, target=0) for t in texts])
    s = study.Study("t", made, ("kernelshap", "permutation"), (8, 40), (0, 1), ("sparsity",))
    total = study.bill(s).total
    assert sent == []
    study.run(s, tmp_path)
    assert len(sent) == total


def test_a_winner_needs_evidence():
    rng = np.random.default_rng(0)

    def rows(gain):
        for i in range(8):
            base = rng.normal()
            for method, shift in (("a", 0.0), ("b", gain)):
                yield {
                    "instance": f"i{i}", "method": method, "budget": 10, "seed": 0, "metric": "deletion_gap",
                    "status": "ok",
                    "value": base + shift + 0.1 * rng.normal(), "rows_sent": 10, "seconds": 1.0, "seconds_model": 0.5,
                }  # fmt: skip

    won = [study.statistics(rows(0.0)).entries["deletion_gap"] for _ in range(200)]
    assert 0.0 < np.mean([e["a", 10].winner or e["b", 10].winner for e in won]) < 0.12
    assert study.statistics(rows(1.0)).entries["deletion_gap"]["b", 10].winner


def test_unfinished_instances_are_left_out_of_means(tmp_path):
    s = declared(n=3, methods=("kernelshap", "random"), seeds=(0,))
    results = study.run(s, tmp_path)
    whole = list(results.rows())
    part = [r for r in whole if not (r["instance"] == "row 2" and r["method"] == "random" and r["budget"] == 120)]
    found = study.statistics(part)
    assert (found.instances, found.unfinished) == (2, 1)
    assert found.entries == study.statistics([r for r in whole if r["instance"] != "row 2"]).entries
    assert study.statistics(whole).unfinished == 0
    failed = [{**r, "status": "failed"} if r["instance"] == "row 2" and r["budget"] == 60 else r for r in whole]
    assert study.statistics(failed).instances == 3  # a failed cell is done


def test_the_report_stands_alone_and_the_table_is_tidy(tmp_path):
    results = study.run(declared(n=2), tmp_path)
    page = study.report(tmp_path).read_text()
    assert 'src="data:image/png' in page
    assert "http" not in page.replace("https://", "http://").split("</style>")[1]
    with (tmp_path / "results.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0])[:8] == ["instance", "method", "budget", "seed", "metric", "value", "rows_sent", "seconds"]
    assert len(rows) == len(list(results.rows())) == 2 * 3 * 2 * 2 * 3
    assert all(int(r["rows_sent"]) <= int(r["budget"]) for r in rows)
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "results.parquet").num_rows == len(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": (120, 60)}, "ascend"),
        ({"methods": ("kernelshap", "kernelshap")}, "each once"),
        ({"methods": ("kernelsharp",)}, "unknown"),
        ({"scores": ("beauty",)}, "beauty"),
        ({"judge": {"player": 1}}, "judge takes"),
        ({"seeds": ()}, "one at least"),
    ],
)
def test_mistakes_are_found_before_anything_runs(change, message):
    with pytest.raises(InvalidInput, match=message):
        declared(**change)


def test_background_sets_are_explained_noisily_and_judged_by_their_mean(tmp_path):
    rng = np.random.default_rng(0)
    made = subject(1, 6)
    instance = study.Instance("row", made.instances[0].x, baseline=rng.normal(size=(20, 6)), target=0)
    s = study.Study("t", study.Subject(made.oracle, [instance]), ("kernelshap",), (40, 80), (0,), ("shapley",))
    assert study.run(s, tmp_path).failures() == []
