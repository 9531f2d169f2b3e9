"""Memory that runs out: in the model, in composing, in drawing. Nothing is lost, nothing paid twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blackbox_xai import OracleError, QueryBudget, explain, oracles
from blackbox_xai.estimators.gefa import GEFA
from blackbox_xai.memory import Room, ran_out
from blackbox_xai.oracles import CallableOracle, Meter, TorchOracle
from blackbox_xai.players import ImagePixels, ImageSegments
from blackbox_xai.runs import run

torch = pytest.importorskip("torch")
PHOTO = np.random.default_rng(0).integers(0, 255, (24, 28, 3), dtype=np.uint8)


class Small(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A linear model on a device of so many rows."""

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__()
        self.room, self.sizes, self.tries = room, list[int](), list[int]()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(24 * 28 * 3, 2, generator=generator) / 50)

    def forward(self, x: Any) -> Any:
        self.tries.append(len(x))
        if len(x) > self.room:
            raise torch.cuda.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(x)} rows.")
        self.sizes.append(len(x))
        return x.flatten(1) @ self.weight


def explained(module: Any, **options: Any) -> Any:
    oracle = TorchOracle(module, batch_size=16, activation="softmax")
    return explain(oracle, PHOTO, method=options.pop("method", "rise"), budget=100, seed=3, **options)


def test_a_model_out_of_memory_gets_half_and_the_run_goes_on() -> None:
    whole = explained(Small())
    small = Small(5)
    with pytest.warns(RuntimeWarning, match="Memory ran out; going on with at most 8 rows") as said:
        halved = explained(small)
    assert len(said) == 1
    assert small.tries[:4] == [2, 16, 8, 4]
    assert [n for n in small.tries if n > 5] in ([16, 8], [16, 8, 16])  # the next batch may have been waiting already
    assert sum(small.sizes) == halved.ledger["scored"] == whole.ledger["scored"] == 100
    assert halved.ledger["batches"] == whole.ledger["batches"]
    assert np.allclose(halved.values, whole.values, atol=1e-7)
    assert (halved.status, halved.ledger["failed"]) == ("complete", 0)


def test_a_single_row_that_does_not_fit_ends_the_run() -> None:
    with pytest.raises(OracleError, match="CUDA out of memory"), pytest.warns(RuntimeWarning, match="ran out"):
        explained(Small(0), on_error="raise")


def test_an_error_after_a_part_keeps_the_part() -> None:
    def predict(x: Any) -> Any:
        if len(x) > 2:
            raise MemoryError
        if x[0, 0] == 3:
            raise ZeroDivisionError("broken")
        return x[:, 0] * 10

    m = Meter(CallableOracle(predict), QueryBudget(9))
    one = [([bytes([r]) for r in (1, 2, 3, 4)], lambda rows: np.array([1.0, 2, 3, 4])[rows][:, None])]
    with pytest.warns(RuntimeWarning, match="at most 2"), pytest.raises(OracleError, match="ZeroDivision") as caught:
        list(m.stream(one))
    assert {i: float(row) for i, row in caught.value.answered.items()} == {0: 10, 1: 20}
    assert (m.ledger.scored, m.ledger.answered, m.ledger.failed) == (4, 2, 2)


def test_composing_out_of_memory_composes_half(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, asked = explained(Small()), list[int]()
    plain = TorchOracle.buffer

    def buffer(self: Any, rows: int, *form: Any) -> Any:
        asked.append(rows)
        if rows > 8:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return plain(self, rows, *form)

    monkeypatch.setattr(TorchOracle, "buffer", buffer)
    with pytest.warns(RuntimeWarning, match="at most 8 rows"):
        halved = explained(Small())
    assert asked.count(16) in (1, 2)  # the batch composed beside it may have been begun
    assert np.allclose(halved.values, whole.values, atol=1e-7)
    assert halved.ledger["scored"] == whole.ledger["scored"]


def test_drawing_out_of_memory_asks_for_fewer_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    from blackbox_xai.estimators.base import Problem

    def told(room: int) -> Any:
        session = GEFA().session(Problem(24 * 28, (202,), 1, grid=(24, 28)))
        plain = session.sampler.draw

        class Tight:
            n_players, group = session.sampler.n_players, session.sampler.group

            def draw(self, start: int, count: int) -> Any:
                if count > room:
                    raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
                return plain(start, count)

        session.sampler = Tight()
        slices = list(run(session, lambda pieces: ((m, m.sizes() / 1e3) for m in pieces), window=150))
        session.sampler = GEFA().session(Problem(24 * 28, (202,), 1, grid=(24, 28))).sampler
        return slices, session.result().values

    whole = told(1 << 30)
    assert whole[0] == [2, 150, 50]
    with pytest.warns(RuntimeWarning, match="at most 75 rows") as said:
        tight = told(40)
    assert len(said) == 1
    assert tight[0] == [2] + [36] * 5 + [20]
    assert np.array_equal(tight[1], whole[1])


def test_what_counts_as_no_memory() -> None:
    assert ran_out(MemoryError())
    assert ran_out(torch.cuda.OutOfMemoryError("x"))
    assert ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert ran_out(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"))
    assert not ran_out(RuntimeError("illegal address"))
    assert not ran_out(OracleError("HTTP 500: CUDA out of memory"))  # a server's trouble: asking again is billed
    assert Room().fit(lambda n: n * 2, 5) == (5, 10)


@pytest.mark.parametrize("players", [ImagePixels, ImageSegments])
def test_batches_are_composed_into_tensors_of_the_oracle(players: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given, got = list[Any](), list[Any]()
    plain, forward = TorchOracle.buffer, TorchOracle._forward

    def buffer(self: Any, *form: Any) -> Any:
        given.append(plain(self, *form))
        return given[-1]

    def keep(self: Any, torch: Any, batch: Any) -> Any:
        got.append(batch)
        return forward(self, torch, batch)

    monkeypatch.setattr(TorchOracle, "buffer", buffer)
    monkeypatch.setattr(TorchOracle, "_forward", keep)
    p = players(PHOTO, "grey", **({} if players is ImagePixels else {"segments": 12}))
    method = "gefa" if players is ImagePixels else "kernelshap"
    a = explained(Small(), players=p, method=method)
    assert {id(b) for b in got} == {id(b) for b in given}
    assert got[0].shape == (2, 24, 28, 3)
    assert got[0].dtype == torch.uint8
    assert np.array_equal(got[0][1].numpy(), PHOTO)

    def copied(x: Any) -> Any:
        with torch.no_grad():
            return Small()(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255).softmax(-1).numpy()

    b = explain(oracles.CallableOracle(copied, batch_size=16), PHOTO, players=p, method=method, budget=100, seed=3)
    assert np.array_equal(a.values, b.values)
