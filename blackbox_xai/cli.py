"""The command line. Exit code 0: complete; 3: partial; 2: no result, with one line that says why."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__, cli_remote, cli_study
from .budget import QueryBudget
from .errors import BlackboxXaiError, InvalidInput, need

COMPLETE, REFUSED, PARTIAL, INTERRUPTED = 0, 2, 3, 130
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
_BACKGROUND = 100  # rows of a CSV used as background where none are named

app = typer.Typer(
    name="blackbox-xai",
    help="Explain any model you can only query, within a query budget you set.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Input = Annotated[str | None, typer.Argument(help="An image file or a text; left out, the example's own input.")]
Text = Annotated[str | None, typer.Option(help="The text to explain (where it could be taken for a file name).")]
Csv = Annotated[Path | None, typer.Option(help="A CSV file with a header; explain one of its rows.")]
Row = Annotated[int, typer.Option(help="Which row of --csv, from 0.")]
BaselineRows = Annotated[
    str | None,
    typer.Option(
        help=f"Rows of --csv that stand for 'absent': 'median', '0:50', '1,5,9'. Default: {_BACKGROUND} rows."
    ),
]
Drop = Annotated[list[str] | None, typer.Option(help="A column of --csv that the model does not get, e.g. the label.")]
Example = Annotated[str | None, typer.Option(help="A bundled model: photo, review or table. Default: by the input.")]
Model = Annotated[str | None, typer.Option(help="Your model, package.module:name: a function, estimator or oracle.")]
Method = Annotated[str, typer.Option(help="A name from `blackbox-xai methods`, or auto.")]
Budget = Annotated[int, typer.Option(help="Rows sent to the model, at most.")]
Target = Annotated[str | None, typer.Option(help="The output to explain, by name or index. Default: the highest.")]
PlayersName = Annotated[str | None, typer.Option("--players", help="pixels, segments, words or columns.")]
Baseline = Annotated[str | None, typer.Option(help="Images: blur, mean, black, grey. Text: remove or a replacement.")]
Side = Annotated[int | None, typer.Option(help="Cut an image to its middle square and scale it to this many pixels.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
BatchSize = Annotated[int | None, typer.Option(help="Rows a call to the model, at most.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def explain(
    input: Input = None,
    text: Text = None,
    csv: Csv = None,
    row: Row = 0,
    baseline_rows: BaselineRows = None,
    drop: Drop = None,
    example: Example = None,
    model: Model = None,
    method: Method = "auto",
    budget: Budget = 500,
    target: Target = None,
    players: PlayersName = None,
    baseline: Baseline = None,
    side: Side = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    endpoint: cli_remote.Endpoint = None,
    protocol: cli_remote.Protocol = "v2",
    output: cli_remote.Output = None,
    label: cli_remote.Label = None,
    answer: cli_remote.Answer = None,
    outputs: cli_remote.Outputs = "scores",
    api_key: cli_remote.ApiKey = None,
    concurrency: cli_remote.Concurrency = 8,
    rps: cli_remote.Rps = None,
    timeout_s: cli_remote.TimeoutS = 60.0,
    store: cli_remote.Store = None,
    spare: cli_remote.Spare = 0,
    out: Annotated[
        list[Path] | None, typer.Option(help="Write .html, .png, .pdf, .svg, .json or .npz; may be repeated.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Explain one decision: an image, a text, or a row of a CSV file."""
    from . import driver

    for path in out or []:
        _writable(path)
    remote = None
    if endpoint is not None:
        remote = cli_remote.make_oracle(
            endpoint,
            protocol=protocol,
            model=model,
            output=output,
            labels=label,
            answer=answer,
            outputs=outputs,
            api_key=api_key,
            concurrency=concurrency,
            rps=rps,
            timeout_s=timeout_s,
            batch_size=batch_size,
        )
    x, oracle, absent = _job(
        input, text, csv, row, baseline_rows, drop, example, model, baseline, side, batch_size, remote
    )
    attribution = driver.explain(
        oracle,
        x,
        budget=QueryBudget(budget, spare=spare) if spare else budget,
        method=method,
        target=_target(target),
        players=players,
        baseline=absent,
        seed=seed,
        progress=None if quiet else True,
        batch_size=batch_size if model and endpoint is None else None,
        store=store,
    )
    for path in out or []:
        write(attribution, path)
    typer.echo(json.dumps(_plain(attribution), ensure_ascii=False) if as_json else _summary(attribution))
    if not attribution.status.startswith("complete"):
        typer.echo(f"{attribution.status}: {attribution.error}", err=True)
        raise typer.Exit(PARTIAL)


@app.command()
def plan(
    input: Input = None,
    text: Text = None,
    csv: Csv = None,
    row: Row = 0,
    baseline_rows: BaselineRows = None,
    drop: Drop = None,
    example: Example = None,
    model: Model = None,
    method: Method = "auto",
    budget: Budget = 500,
    target: Target = None,
    players: PlayersName = None,
    baseline: Baseline = None,
    side: Side = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    as_json: AsJson = False,
) -> None:
    """Say what `explain` with the same options would send; sends nothing."""
    from dataclasses import asdict

    from . import driver

    x, oracle, absent = _job(input, text, csv, row, baseline_rows, drop, example, model, baseline, side, batch_size)
    planned = driver.plan(
        oracle,
        x,
        budget=budget,
        method=method,
        target=_target(target),
        players=players,
        baseline=absent,
        seed=seed,
        batch_size=batch_size if model else None,
    )
    typer.echo(json.dumps(asdict(planned)) if as_json else str(planned))


@app.command()
def methods(
    players: Annotated[int, typer.Option(help="Players for which rows are counted.")] = 50,
    budget: Annotated[int, typer.Option(help="Budget for which rows are counted.")] = 500,
    as_json: AsJson = False,
) -> None:
    """List the methods: what each estimates, the players it suits, and what it costs."""
    from .estimators import METHODS
    from .estimators.base import Problem

    rows = []
    for name, kind in METHODS.items():
        method = kind()
        problem = Problem(players, (budget,))
        if method.on_grid:
            side = max(1, round(players**0.5))
            problem = Problem(side * side, (budget,), grid=(side, side), soft=True)
        minimum: int | None
        try:
            minimum, sent = method.minimum(problem), method.rows(problem)
        except BlackboxXaiError:
            minimum, sent = method.minimum(problem), None
        rows.append(
            {"name": name, "estimates": method.estimates, "suits": method.suits, "minimum": minimum, "rows": sent}
        )
    if as_json:
        typer.echo(json.dumps(rows))
        return
    width = max(len(r["name"]) for r in rows)
    for r in rows:
        cost = f"at least {r['minimum']} rows for {players} players"
        cost += f"; of {budget} it sends {r['rows']}" if r["rows"] is not None else f"; {budget} are too few"
        typer.echo(f"{r['name']:{width}}  {r['estimates']}\n{'':{width}}  suits {r['suits']}\n{'':{width}}  {cost}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("demo.html"),
    budget: Annotated[int, typer.Option(help="Rows for each method on each input.")] = 500,
    method: Annotated[list[str] | None, typer.Option(help="Methods; may be repeated. Default: four of them.")] = None,
    scene: Annotated[list[str] | None, typer.Option(help="cat, coffee, review, table; may be repeated.")] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Explain real photographs, a review and a table row with several methods; write one page."""
    from . import demo as pages

    path = pages.run(
        out,
        budget=budget,
        methods=tuple(method or pages.DEFAULT_METHODS),
        scenes=tuple(scene or pages.SCENES),
        seed=seed,
        progress=not quiet,
    )
    typer.echo(f"{path} is ready: open it in a browser.")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"blackbox-xai {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Explain any model you can only query, within a query budget you set."""


# Commands that live in files of their own are added here, a line each.
app.add_typer(cli_study.app, name="study")
app.add_typer(cli_remote.ledger, name="ledger")
app.command()(cli_remote.probe)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        result = typer.main.get_command(app).main(
            args=None if argv is None else list(argv), prog_name="blackbox-xai", standalone_mode=False
        )
    except BlackboxXaiError as error:
        typer.echo(f"blackbox-xai: {error}", err=True)
        return REFUSED
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("blackbox-xai: interrupted before there was a result", err=True)
        return INTERRUPTED
    except Exception as error:
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):
            raise
        error.show()  # wrong usage: the option and what to do
        return int(error.exit_code)
    return result if isinstance(result, int) else COMPLETE


def _job(
    given: str | None,
    text: str | None,
    table: Path | None,
    row: int,
    baseline_rows: str | None,
    drop: list[str] | None,
    example: str | None,
    model: str | None,
    baseline: str | None,
    side: int | None,
    batch_size: int | None,
    remote: Any = None,
) -> tuple[Any, Any, Any]:
    """The input, the model and the baseline that the options mean."""
    if sum(v is not None for v in (given, text, table)) > 1:
        raise InvalidInput("Give one input: an image file or a text, --text, or --csv.")
    if model is not None and example is not None:
        raise InvalidInput("Give --model or --example, not both.")
    x: Any = text
    absent: Any = baseline
    if table is not None:
        x, background = _from_csv(table, row, baseline_rows, drop or [])
        absent = background if baseline is None else baseline
    elif given is not None:
        x = _from_word(given)
    if side is not None and hasattr(x, "convert"):
        from .examples import square

        x = square(x, side)
    if remote is not None:
        if x is None or example is not None:
            raise InvalidInput("With --endpoint give an input (an image file, a text, or --csv), and no --example.")
        return x, remote, absent
    if model is not None:
        if x is None:
            raise InvalidInput("With --model give an input: an image file, a text, or --csv.")
        return x, imported(model), absent
    kind = "table" if table is not None else "photo" if hasattr(x, "convert") or hasattr(x, "shape") else "review"
    kind = example or ("photo" if x is None else kind)
    suits = {"photo": not isinstance(x, str) and table is None, "review": x is None or isinstance(x, str)}
    if not suits.get(kind, x is None or table is not None):
        raise InvalidInput(f"The example {kind!r} does not take this input; name your model with --model.")
    from . import examples

    size: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    loaded = examples.load(kind, **({} if x is None else {_TAKES[kind]: x}), **size)
    if table is not None and baseline is None and baseline_rows is None:
        absent = None  # the example knows what is typical
    return loaded.x, loaded.oracle, loaded.baseline if absent is None else absent


_TAKES = {"photo": "image", "review": "text", "table": "row"}


def _from_word(given: str) -> Any:
    """An image where the word names one, else the text itself."""
    path = Path(given)
    if path.suffix.lower() not in _PICTURES:
        if len(given) < 200 and path.is_file():
            raise InvalidInput(f"{given!r} is a file but no picture; use --text for a text, --csv for a table.")
        return given
    if not path.is_file():
        raise InvalidInput(f"There is no file {given!r}.")
    pil = need("PIL.Image", "vision", "Reading a picture")
    try:
        with pil.open(path) as picture:
            picture.load()
            return picture.copy()
    except OSError as error:
        raise InvalidInput(f"{given!r} cannot be read as a picture: {error}.") from error


def _from_csv(path: Path, row: int, spec: str | None, drop: list[str]) -> tuple[Any, Any]:
    """One row and the rows that stand for 'absent', as DataFrames."""
    pd = need("pandas", "demo", "Reading a CSV file")
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInput(f"--csv {path} cannot be read: {error}.") from error
    missing = [c for c in drop if c not in frame.columns]
    if missing:
        raise InvalidInput(f"--drop {missing[0]!r}: the file has the columns {', '.join(map(str, frame.columns))}.")
    frame = frame.drop(columns=drop)
    if not 0 <= row < len(frame):
        raise InvalidInput(f"--row {row}: the file has {len(frame)} rows (0..{len(frame) - 1}).")
    if spec == "median":
        if any(not pd.api.types.is_numeric_dtype(t) for t in frame.dtypes):
            raise InvalidInput("--baseline-rows median needs numeric columns; name rows instead, e.g. 0:50.")
        return frame.iloc[[row]], frame.median().to_frame().T
    return frame.iloc[[row]], frame.iloc[_positions(spec, row, len(frame))]


def _positions(spec: str | None, row: int, n: int) -> list[int]:
    """Row numbers from '0:50', '1,5,9' or None (all others, spread evenly, at most _BACKGROUND)."""
    if spec is None:
        others = [i for i in range(n) if i != row]
        if not others:
            raise InvalidInput("--csv has one row only: nothing can stand for 'absent'; add rows.")
        step = -(-len(others) // _BACKGROUND)
        return others[::step]
    try:
        if ":" in spec:
            first, last = (int(v) if v else None for v in spec.split(":"))
            found = list(range(n))[first:last]
        else:
            found = [int(v) for v in spec.split(",")]
    except ValueError:
        raise InvalidInput(f"--baseline-rows {spec!r}: write 'median', '0:50' or '1,5,9'.") from None
    bad = [i for i in found if not 0 <= i < n]
    if bad or not found:
        raise InvalidInput(f"--baseline-rows {spec!r}: the file has rows 0..{n - 1}.")
    return found


def imported(name: str) -> Any:
    """The object that ``package.module:name`` names; the working directory can be imported from.

    Raises
    ------
    InvalidInput : no such module or name.
    """
    import importlib

    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise InvalidInput(f"--model {name!r}: write package.module:name, e.g. my_model:predict.")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"--model {name!r}: {error}. Is it installed, or in this folder?") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InvalidInput(f"--model {name!r}: {found!r} has no {part!r}.")
        found = getattr(found, part)
    return found


def _target(given: str | None) -> int | str | None:
    if given is None or not given.lstrip("-").isdigit():
        return given
    return int(given)


_SUFFIXES = frozenset({".html", ".png", ".pdf", ".svg", ".json", ".npz"})


def _writable(path: Path) -> None:
    """Refuse, before anything is sent, what could not be written."""
    if path.suffix not in _SUFFIXES:
        raise InvalidInput(f"--out {path}: the name must end in {', '.join(sorted(_SUFFIXES))}.")
    if not path.parent.is_dir():
        raise InvalidInput(f"--out {path}: there is no folder {path.parent}.")
    if path.suffix in (".png", ".pdf", ".svg"):
        need("matplotlib", "plots", f"Writing {path.suffix}")


def write(attribution: Any, path: Path) -> None:
    """Write an attribution in the form that the file's name says."""
    if path.suffix == ".html":
        from .report import page

        path.write_text(page(f"Why {attribution.output_names[0]}?", [attribution]), encoding="utf-8")
    elif path.suffix in (".json", ".npz"):
        attribution.save(path)
    else:
        import matplotlib

        matplotlib.use("Agg", force=False)
        from matplotlib import pyplot

        figure = attribution.plot().figure
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def _summary(a: Any) -> str:
    from . import report

    lines = [f"{a.output_names[0]}: {a.base_values:.4g} with everything absent, {a.full_values:.4g} as it is"]
    order = [int(i) for i in (-abs(a.values)).argsort(kind="stable")[:10]]
    names = [a._name(i)[:40] for i in order]
    width = max(len(name) for name in names)
    for name, i in zip(names, order):
        line = f"  {name:{width}}  {a.values[i]:+.4f}"
        if a.std_error is not None:
            low, high = a.interval(0.95)
            line += f"  [{low[i]:+.4f}, {high[i]:+.4f}]"
        lines.append(line)
    if len(a.values) > 10:
        lines.append(f"  and {len(a.values) - 10} more")
    lines.append(report.spent(a))
    return "\n".join(lines)


def _plain(a: Any) -> dict[str, Any]:
    """What ``--json`` prints; ``--out x.json`` keeps all of it."""
    return {
        "output": a.output_names[0],
        "base_value": a.base_values,
        "full_value": a.full_values,
        "method": a.method,
        "seed": a.seed,
        "status": a.status,
        "error": a.error,
        "names": [a._name(i) for i in range(len(a.values))] if a.feature_names is not None else None,
        "values": a.values.tolist(),
        "std_error": None if a.std_error is None else a.std_error.tolist(),
        "ledger": a.ledger,
    }
