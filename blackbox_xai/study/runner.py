"""Runs a study: independent chains through joblib, here or on a cluster, each cell durable when it is done."""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import BudgetExhausted, InvalidInput
from .bill import bill_of
from .cells import SCRATCH, ChainRun, Desk, Shares
from .groups import Due, due, make, planned
from .results import Results
from .spec import Chain, Made, Study

Backend = Literal["loky", "threading", "dask", "ray"]
Progress = bool | Callable[[int, int], None] | None
_MADE: dict[str, Made] = {}  # one study a worker process


def run(
    study: Study,
    out: str | Path,
    *,
    workers: int = 1,
    backend: Backend = "loky",
    progress: Progress = None,
    database: str | None = None,
    store: str | Path | None = None,
    instances: int | None = None,
) -> Results:
    """Run, or go on with, a study.

    Parameters
    ----------
    out : directory. Holds ``study.db``; what is there is not done again.
    workers : int. Processes (or the cluster's workers); 1 runs here.
    backend : "loky" (processes of this machine), "threading", "dask" (the current ``dask.distributed.Client``) or
        "ray" (the current ray session).
    progress : True (a bar in cells with the time left), or a function (cells done, cells in all).
    store : file or ``postgresql://`` URL of an answer store, which keeps every answer: then even a cell that was
        killed half way pays only what is missing. The oracle needs an identity.
    instances : int or None. Only the first so many, now; a later run goes on with the rest.
    database : URL of another database for the results, e.g. PostgreSQL for a cluster without a shared disk.

    Returns
    -------
    Results.

    Raises
    ------
    InvalidInput : `out` holds another study.
    BudgetExhausted : the study's limit does not cover its bill; nothing was sent.

    A cell that fails is recorded, and the study goes on; running it again tries failed cells again. The numbers
    depend neither on the backend nor on the number of workers.

    Cost: the study's bill at most.
    """
    if workers < 1:
        raise InvalidInput(f"study: workers must be >= 1, got {workers}.")
    if backend not in ("loky", "threading", "dask", "ray"):
        raise InvalidInput(f"study: backend {backend!r} is unknown; use loky, threading, dask or ray.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    results = Results(database or out)
    made = study.made()
    described = made.described()
    results.begin(described, study.limit)
    results.note(versions=versions(), machine=machine(), references=sorted(made.subject.references))
    scratch = out / SCRATCH
    if study.limit is not None:
        needed = bill_of(made, results, whole=True, instances=instances, scratch=scratch).total
        left = study.limit - results.described()["used"]
        if needed > left:
            raise BudgetExhausted(f"study {study.name}", needed, left, study.limit)
    done, prepared = results.done(), results.prepared()
    cells = {c for chain in made.chains(instances) for c in made.cells(chain)}
    tick = _ticker(progress, len(cells & done), len(cells))
    desk = Desk(results, scratch, None if store is None else str(store))
    with _Pool(study, made, desk, workers, backend) as pool:
        todo = [i for i, x in enumerate(made.subject.instances[:instances]) if x.name not in prepared]
        for _ in pool.map(_prepare, todo):
            pass
        rest = (chain for chain in made.chains(instances) if any(c not in done for c in made.cells(chain)))
        for finished in pool.map(_chain, rest):
            tick(finished)
        if study.all_group_scores:
            done = results.done()
            there = [c for c in planned(made, instances) if c in done]
            for _ in pool.map(_group, list(due(made, there, results.signed()))):
                pass
    tick(None)
    if scratch.exists() and not any(scratch.iterdir()):
        scratch.rmdir()
    return results


class _Pool:
    """Maps work over joblib; sends the study once a worker, not once a task."""

    def __init__(self, study: Study, made: Made, desk: Desk, workers: int, backend: Backend) -> None:
        self.made, self.desk = made, desk
        self.workers, self.backend = workers, backend
        self.alone = workers == 1 and backend in ("loky", "threading")
        self.packed, self.digest = b"", ""
        if not self.alone and backend != "threading":
            self.packed = _pickler().dumps(study)
            self.digest = hashlib.sha256(self.packed).hexdigest()
        self._config: Any = None

    def __enter__(self) -> _Pool:
        if not self.alone:
            import joblib

            if self.backend == "ray":
                from ray.util.joblib import register_ray

                register_ray()
            self._config = joblib.parallel_config(backend=self.backend, n_jobs=self.workers)
            self._config.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._config is not None:
            self._config.__exit__(*error)

    def map(self, work: Callable[..., int], items: Iterable[Any]) -> Iterator[int]:
        """Results as they come, in any order; items are taken lazily."""
        if self.alone:
            yield from (work(self.made, self.desk, item) for item in items)
            return
        import joblib

        if self.backend == "threading":
            tasks = (joblib.delayed(work)(self.made, self.desk, i) for i in items)
        else:
            args = (self.packed, self.digest, self.desk)
            tasks = (joblib.delayed(_remote)(*args, work.__name__, i) for i in items)
        if self.backend == "ray":  # its joblib backend gives lists only
            while part := list(itertools.islice(tasks, 8 * self.workers)):
                yield from joblib.Parallel()(part)
            return
        yield from joblib.Parallel(return_as="generator_unordered", pre_dispatch="3*n_jobs")(tasks)


def _pickler() -> Any:
    """cloudpickle, on its own or inside joblib (before 1.5)."""
    import importlib

    try:
        return importlib.import_module("cloudpickle")
    except ModuleNotFoundError:
        return importlib.import_module("joblib.externals.cloudpickle")


def _remote(packed: bytes, digest: str, desk: Desk, work: str, item: Any) -> int:
    """In a worker: the study is unpacked and its subject made once."""
    if digest not in _MADE:
        _MADE.clear()
        study: Study = _pickler().loads(packed)
        _MADE[digest] = study.made()
    tasks: dict[str, Callable[..., int]] = {"_prepare": _prepare, "_chain": _chain, "_group": _group}
    return tasks[work](_MADE[digest], _opened(desk), item)


_OPEN: dict[tuple[str, str], Desk] = {}


def _opened(desk: Desk) -> Desk:
    """One connection a worker and study."""
    return _OPEN.setdefault((desk.results.where, str(desk.store)), desk)


def _prepare(made: Made, desk: Desk, number: int) -> int:
    try:
        return Shares(made, desk).prepare(number)
    except Exception as error:  # the cells that need it will fail, and say so
        name = made.subject.instances[number].name
        print(f"study: what the cells of {name!r} share could not be made: {error}", file=sys.stderr)
        return 0


def _chain(made: Made, desk: Desk, chain: Chain) -> int:
    own = ChainRun(made, desk, chain)
    done = desk.results.done_of(own.cells)
    return sum(1 for _ in own.run(done))


def _group(made: Made, desk: Desk, item: Due) -> int:
    return make(made, desk, item)


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    from .. import __version__

    found = {"blackbox_xai": __version__, "python": platform.python_version()}
    for name in (
        "numpy",
        "scipy",
        "scikit-learn",
        "torch",
        "torchvision",
        "onnxruntime",
        "openvino",
        "transformers",
        "joblib",
        "SQLAlchemy",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The machine, in words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _ticker(progress: Progress, done: int, total: int) -> Callable[[int | None], None]:
    if callable(progress):

        def call(n: int | None) -> None:
            nonlocal done
            if n is not None:
                done += n
                progress(done, total)

        return call
    if not progress:
        return lambda n: None
    from tqdm.auto import tqdm

    bar = tqdm(total=total, initial=done, unit="cell", desc="study")
    return lambda n: bar.close() if n is None else bar.update(n) and None
