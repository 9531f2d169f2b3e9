"""The answer store: exact under concurrency, durable, versioned, and honest when recounted."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blackbox_xai import BudgetExhausted, InvalidInput, QueryBudget, explain
from blackbox_xai.budget import AnswerStore, StoreError
from blackbox_xai.budget.audit import listing, verify
from blackbox_xai.budget.limits import Amount
from blackbox_xai.budget.records import Settled
from blackbox_xai.oracles import CallableOracle, Meter
from tests.helpers import Counting

SPAWN = multiprocessing.get_context("spawn")


def keys(n: int, start: int = 0) -> list[bytes]:
    return [hashlib.sha256(str(i).encode()).digest() for i in range(start, start + n)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.db") as s:
        yield s


def buy(store: AnswerStore, budget: QueryBudget, ks: list[bytes], value: float = 1.0) -> None:
    oracle, account = store.oracle("m"), store.account(budget)
    got = store.acquire(oracle, account, ks, ttl_s=10)
    assert got.ticket is not None
    store.settle(oracle, account, got.ticket, Settled("answered", {k: np.array([value, 0.5]) for k in got.mine}))


def test_answers_come_back_to_the_bit_and_the_file_is_private(store: AnswerStore) -> None:
    rng = np.random.default_rng(0)
    rows = dict(zip(keys(1200), rng.normal(size=(1200, 3)) * 10.0 ** rng.integers(-300, 300, (1200, 1))))
    oracle = store.oracle("m")
    store.put(oracle, rows)
    got = store.lookup(oracle, [*rows, *keys(5, 9000)])
    assert got.keys() == rows.keys()
    assert all(np.array_equal(got[k].view(np.uint64), rows[k].view(np.uint64)) for k in rows)
    assert store.lookup(store.oracle("another"), list(rows)) == {}
    for path in Path(store.where).parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert verify(store) == []


def test_a_claim_is_one_processes_until_it_expires(store: AnswerStore) -> None:
    oracle, budget = store.oracle("m"), QueryBudget(100, spare=10)
    account, other = store.account(budget), store.account(QueryBudget(100, name="other"))
    first = store.acquire(oracle, account, keys(4), ttl_s=0.2)
    second = store.acquire(oracle, other, keys(6), ttl_s=10)
    assert (len(first.mine), len(second.mine), set(second.busy)) == (4, 2, set(keys(4)))
    time.sleep(0.25)
    third = store.acquire(oracle, account, keys(4), ttl_s=10)  # ours, lost: the model may have scored it
    assert third.repeats == set(keys(4))
    assert (budget.used, budget.repeated) == (4, 4)
    assert verify(store) == []


def test_a_shared_budget_is_one_for_all_and_names_its_figures(store: AnswerStore) -> None:
    budget = store.budget("study", 100, spare=5)
    assert store.budget("study", 100, spare=5).rows == budget.rows
    with pytest.raises(InvalidInput, match="limit 100 and spare 5"):
        store.budget("study", 200, spare=5)
    child = budget.child(80)
    buy(store, child, keys(60))
    assert (child.used, budget.used, budget.left) == (60, 60, 40)
    with pytest.raises(BudgetExhausted, match="20 of 80 left") as e:
        buy(store, child, keys(30, 100))
    assert (e.value.asked, e.value.left, e.value.limit) == (30, 20, 80)
    budget.reserve(30)
    with pytest.raises(BudgetExhausted, match="study"):
        child.reserve(11)  # the child has 20, its parent 10
    assert (child.used, budget.used) == (60, 90)
    budget.give_back(30)
    copy = pickle.loads(pickle.dumps(child))
    copy.reserve(20)
    assert (child.left, budget.used) == (0, 80)
    store.raise_limit("study", limit=500)
    assert budget.left == 420
    assert verify(store) == []
    assert {b["name"] for b in listing(store)["budgets"]} >= {"study"}


def test_a_lost_transaction_gives_a_memory_budget_its_rows_back(store: AnswerStore) -> None:
    budget = QueryBudget(10)
    oracle, account = store.oracle("m"), store.account(budget)
    with pytest.raises(Exception, match=r"(?i)bytes|bind"):
        store.acquire(oracle, account, [*keys(3), "not bytes"], ttl_s=1)  # type: ignore[list-item]
    with pytest.raises(BudgetExhausted):
        store.acquire(oracle, account, keys(11), ttl_s=1)
    assert budget.used == 0
    assert store.acquire(oracle, account, keys(10), ttl_s=1).mine == keys(10)
    assert verify(store) == []


def test_money_is_reserved_and_settled_exactly(store: AnswerStore) -> None:
    budget = store.budget("paid", 100, max_cost=0.01)
    oracle, account = store.oracle("m"), store.account(budget)
    got = store.acquire(oracle, account, keys(3), ttl_s=9, bound=lambda ks: (3_000_000 * len(ks), 30))
    assert got.ticket is not None
    assert budget.cost == 0.009
    with pytest.raises(BudgetExhausted, match=r"asked for 0\.003 in cost, 0\.001 of 0\.01 left"):
        store.acquire(oracle, account, keys(1, 50), ttl_s=9, bound=lambda ks: (3_000_000, 0))
    end = Settled("answered", {k: np.ones(1) for k in keys(3)}, cost=1_000_001, tokens_in=5, tokens_out=2)
    store.settle(oracle, account, got.ticket, end)
    assert (budget.cost, budget.tokens) == (0.001000001, 7)
    assert verify(store) == []


def test_verify_finds_what_was_tampered_with(store: AnswerStore) -> None:
    buy(store, store.budget("b", 100), keys(10))
    assert verify(store) == []
    raw = sqlite3.connect(store.where)
    raw.execute("UPDATE budgets SET used = used - 1")
    raw.execute("DELETE FROM answers WHERE key = ?", (keys(1)[0],))
    raw.execute("UPDATE answers SET scores = x'00' WHERE key = ?", (keys(2)[1],))
    raw.commit()
    raw.close()
    wrong = "\n".join(verify(store))
    assert "used is 9, its attempts add up to 10" in wrong
    assert "10 answers were bought, 9 are there" in wrong
    assert "1 answers are not rows of finite numbers" in wrong


def test_versions(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with AnswerStore(path) as s:
        buy(s, s.budget("b", 10), keys(3))
    raw = sqlite3.connect(path)
    for table, names in {
        "budgets": ("max_cost", "cost", "max_tokens", "tokens"),
        "attempts": ("cost", "tokens_in", "tokens_out"),
    }.items():
        for name in names:
            raw.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    raw.execute("DROP TABLE inputs")
    raw.execute("UPDATE blackbox_xai_schema SET version = 1")
    raw.commit()
    with AnswerStore(path) as s:  # version 1 knew no money and kept no inputs
        assert len(s.lookup(s.oracle("m"), keys(3))) == 3
        buy(s, s.budget("b", 10), keys(3, 50))
        assert verify(s) == []
    raw.execute("UPDATE blackbox_xai_schema SET version = 99")
    raw.commit()
    with pytest.raises(StoreError, match=r"newer blackbox_xai \(schema 99"):
        AnswerStore(path)
    raw.close()
    (tmp_path / "text.db").write_text("this is no database at all, but long enough to be one " * 20)
    with pytest.raises(StoreError, match="cannot be opened as a database"):
        AnswerStore(tmp_path / "text.db")
    with pytest.raises(InvalidInput, match="mysql"):
        AnswerStore("mysql://x/y")


def test_a_second_run_is_free_and_the_same(tmp_path: Path) -> None:
    model = Counting(np.arange(1.0, 11))
    oracle = CallableOracle(model, identity="linear-1", batch_size=16)
    arguments: dict[str, Any] = dict(
        baseline=np.zeros(10), method="kernelshap", budget=200, seed=4, store=tmp_path / "a.db"
    )
    first = explain(oracle, np.ones(10), **arguments)
    assert (model.rows, first.ledger["from_store"]) == (200, 0)
    again = explain(oracle, np.ones(10), **arguments)
    assert (model.rows, again.ledger["from_store"], again.ledger["scored"]) == (200, 200, 0)
    assert np.array_equal(first.values, again.values)
    with pytest.raises(InvalidInput, match="identity"):
        explain(model, np.ones(10), **arguments)


def test_inputs_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    secret = "do-not-keep-this-anywhere"
    oracle = CallableOracle(lambda texts: np.array([float(len(t)) for t in texts]), identity="len")
    for keep in (False, True):
        with AnswerStore(tmp_path / f"{keep}.db", keep_inputs=keep) as s:
            explain(oracle, f"one two {secret}", method="kernelshap", budget=8, store=s)
        found = any(secret.encode() in p.read_bytes() for p in tmp_path.glob(f"{keep}.db*"))
        assert found is keep


# -- many processes ---------------------------------------------------------------------------------------------------


def _reserve(where: str, got: Any) -> None:
    """One row at a time until nothing is left, as 8 processes do at once."""
    store = AnswerStore(where, sync=False)
    oracle, account = store.oracle("m"), store.account(store.budget("all", 8_000 if "://" not in where else 2_000))
    mine = 0
    while True:
        try:
            store.reserve(oracle, account, Amount(1))
        except BudgetExhausted:
            break
        mine += 1
    store.close()
    got.put(mine)


def _race(where: str, limit: int) -> None:
    with AnswerStore(where) as store:
        budget = store.budget("all", limit)
        got = SPAWN.Queue()
        workers = [SPAWN.Process(target=_reserve, args=(where, got)) for _ in range(8)]
        for w in workers:
            w.start()
        counts = [got.get(timeout=240) for _ in workers]
        for w in workers:
            w.join()
        assert sum(counts) == budget.used == limit
        assert verify(store) == []


@pytest.mark.slow
def test_eight_processes_never_overspend_sqlite(tmp_path: Path) -> None:
    _race(str(tmp_path / "race.db"), 8_000)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server of Debian's packages for this module, or the one that BLACKBOX_XAI_TEST_POSTGRES names."""
    if given := os.environ.get("BLACKBOX_XAI_TEST_POSTGRES"):
        yield given
        return
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'blackbox-xai[postgres]'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run("apt-get update && apt-get install -y postgresql", shell=True, check=False, capture_output=True)
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server here and none can be installed (apt-get install postgresql)")
    bin_ = found[-1].parent
    home = Path(tempfile.mkdtemp(prefix="bxpg"))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # a server refuses to run as root
        shutil.chown(home, "postgres")
        as_user = {"user": "postgres"}
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "cwd": home, **as_user}
    subprocess.run([bin_ / "initdb", "-D", home / "data", "-A", "trust", "-U", "postgres"], **quiet)
    options = f"-k {home} -c listen_addresses='' -c fsync=off"
    subprocess.run([bin_ / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log", "-o", options, "start"], **quiet)
    try:
        yield f"postgresql://postgres@/postgres?host={home}"
    finally:
        subprocess.run([bin_ / "pg_ctl", "-D", home / "data", "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
def test_postgres_holds_the_same_promises(postgres: str, tmp_path: Path) -> None:
    with AnswerStore(postgres) as store:
        budget = store.budget("b", 50, spare=3)
        child = budget.child(20)
        buy(store, child, keys(15))
        with pytest.raises(BudgetExhausted, match="5 of 20 left"):
            buy(store, child, keys(10, 100))
        rows = dict(zip(keys(700, 1000), np.random.default_rng(0).normal(size=(700, 2))))
        store.put(store.oracle("m"), rows)
        got = store.lookup(store.oracle("m"), list(rows))
        assert all(np.array_equal(got[k], rows[k]) for k in rows)
        assert verify(store) == []
        model = Counting(np.arange(1.0, 8))
        oracle = CallableOracle(model, identity="linear-pg")
        a = explain(oracle, np.ones(7), baseline=np.zeros(7), method="kernelshap", budget=60, store=store)
        b = explain(oracle, np.ones(7), baseline=np.zeros(7), method="kernelshap", budget=60, store=store)
        assert np.array_equal(a.values, b.values)
        assert model.rows == a.ledger["scored"]
    _race(postgres, 2_000)


def _work(where: str, begin: int, log: str) -> None:
    """Ask 40 batches of a slow model; note in a file each batch that was told, after it was told."""

    def model(x: Any) -> Any:
        time.sleep(0.002)
        return x.sum(axis=1)

    oracle = CallableOracle(model, identity="slow", parallel=4)
    meter = Meter(oracle, QueryBudget(100_000), AnswerStore(where))
    rows = [np.arange(b, b + 8, dtype=float) for b in range(begin, begin + 320, 8)]
    source = [([b"%d" % r for r in batch], lambda i, batch=batch: batch[i][:, None]) for batch in rows]
    with open(log, "a") as told:
        for n, _ in enumerate(meter.stream(source)):
            told.write(f"{begin + 8 * n}\n")
            told.flush()


@pytest.mark.slow
def test_kill_at_any_moment_loses_no_answer(tmp_path: Path) -> None:
    where, log = str(tmp_path / "k.db"), str(tmp_path / "log")
    rng = np.random.default_rng(0)
    AnswerStore(where).close()
    fork = multiprocessing.get_context("fork")
    for n in range(50):
        child = fork.Process(target=_work, args=(where, 320 * (n // 3), log))
        child.start()
        time.sleep(0.02 + rng.uniform(0, 0.25))
        os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
        child.join()
        with AnswerStore(where) as store:
            assert verify(store) == [], n
            told = {int(line) for line in Path(log).read_text().split()} if Path(log).exists() else set()
            want = [hashlib.sha256(b"%d" % r).digest() for b in told for r in range(b, b + 8)]
            assert len(store.lookup(store.oracle("slow"), want)) == len(want), n
    assert len(told) > 20


def test_throughput(tmp_path: Path) -> None:
    """Rows of two outputs in batches of 512: the figures asked for are 20 000 a second written, 50 000 read."""
    n, size = 20_480, 512
    with AnswerStore(tmp_path / "t.db") as store:
        oracle, ks, row = store.oracle("m"), keys(n), np.array([0.25, 0.75])
        begin = time.process_time()
        for i in range(0, n, size):
            store.put(oracle, dict.fromkeys(ks[i : i + size], row))
        written = n / (time.process_time() - begin)
        begin = time.process_time()
        for i in range(0, n, size):
            assert len(store.lookup(oracle, ks[i : i + size])) == size
        read = n / (time.process_time() - begin)
    assert written > 10_000  # half the figure, in processor time: other work may run beside the tests
    assert read > 25_000
