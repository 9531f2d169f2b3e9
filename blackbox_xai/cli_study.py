"""`blackbox-xai study`: what a study costs, run it, report on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import BlackboxXaiError

app = typer.Typer(help="Budget-versus-quality studies.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The study, a TOML file.")]
Data = Annotated[str | None, typer.Option(help="Directory of data, for subjects that read one.")]
Instances = Annotated[int | None, typer.Option(help="Only the first so many instances, for now.")]
Limit = Annotated[int | None, typer.Option(help="Rows the whole study may send, instead of the file's limit.")]
Weights = Annotated[str | None, typer.Option(help="File of model weights, for subjects that take one.")]


@app.command()
def bill(
    file: File,
    data: Data = None,
    weights: Weights = None,
    instances: Instances = None,
    out: Annotated[Path | None, typer.Option(help="A directory begun earlier: bill what is left.")] = None,
) -> None:
    """Print the rows a study would send. Nothing is sent."""

    def work() -> None:
        from . import study

        results = study.Results(out) if out is not None and (out / "study.db").exists() else None
        declared = study.read(file, data=data, weights=weights)
        typer.echo(str(study.bill(declared, results, instances=instances)))

    _guarded(work)


@app.command()
def run(
    file: File,
    out: Annotated[Path, typer.Option(help="Directory for the results; running again resumes.")],
    data: Data = None,
    weights: Weights = None,
    instances: Instances = None,
    limit: Limit = None,
    workers: Annotated[int, typer.Option(help="Processes, or the cluster's workers.")] = 1,
    backend: Annotated[str, typer.Option(help="loky, threading, dask or ray.")] = "loky",
    address: Annotated[str | None, typer.Option(help="Of the Dask scheduler or the Ray cluster.")] = None,
    database: Annotated[str | None, typer.Option(help="URL of a database for the results.")] = None,
    store: Annotated[str | None, typer.Option(help="Answer store: a file or a database URL.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the bill and stop.")] = False,
) -> None:
    """Run a study, or go on with it, then write its report."""

    def work() -> None:
        from . import study

        declared = study.read(file, data=data, weights=weights)
        if limit is not None:
            declared = dataclasses.replace(declared, limit=limit)
        if dry_run:
            there = database or ((out / "study.db").exists() and out)
            known = study.Results(there) if there else None
            typer.echo(str(study.bill(declared, known, instances=instances)))
            if declared.limit is not None:
                left = declared.limit - (known.described()["used"] if known is not None else 0)
                needed = study.bill(declared, known, instances=instances, whole=True).total
                said = "enough" if needed <= left else "too few: it would not start"
                typer.echo(f"limit: {left} of {declared.limit} rows left, the run reserves {needed}: {said}")
            return
        with _Cluster(backend, address, workers):
            results = study.run(
                declared,
                out,
                workers=workers,
                backend=backend,  # type: ignore[arg-type]
                progress=True,
                database=database,
                store=store,
                instances=instances,
            )
        failed = results.failures()
        typer.echo(f"{study.report(out, results=results)}: {len(failed)} cells failed")
        for cell, why in failed[:10]:
            typer.echo(f"  {' / '.join(str(v) for v in cell)}: {why}", err=True)

    _guarded(work)


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="The directory of a study.")],
    database: Annotated[str | None, typer.Option(help="URL of the database, if the results are there.")] = None,
) -> None:
    """Write results.csv and report.html of what is done so far."""

    def work() -> None:
        from . import study

        results = study.Results(database) if database else None
        typer.echo(str(study.report(out, results=results)))

    _guarded(work)


class _Cluster:
    """A connection to a Dask or Ray cluster for the time of a run; one of this machine without an address."""

    def __init__(self, backend: str, address: str | None, workers: int) -> None:
        self.backend, self.address, self.workers = backend, address, workers
        self.client: Any = None

    def __enter__(self) -> None:
        from .errors import need

        if self.backend == "dask":
            distributed = need("dask.distributed", "cluster", "--backend dask")
            self.client = (
                distributed.Client(self.address)
                if self.address
                else distributed.Client(n_workers=self.workers, threads_per_worker=1)
            )
        elif self.backend == "ray":
            ray = need("ray", "cluster", "--backend ray")
            ray.init(self.address, num_cpus=None if self.address else self.workers)

    def __exit__(self, *error: object) -> None:
        if self.client is not None:
            self.client.close()
        if self.backend == "ray":
            import ray

            ray.shutdown()


def _guarded(work: Any) -> None:
    try:
        work()
    except BlackboxXaiError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
