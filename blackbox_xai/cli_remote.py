"""Commands for models behind an API: `probe`, `ledger`; and what `explain --endpoint` needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import InvalidInput

Endpoint = Annotated[str | None, typer.Option(help="URL of a model behind an API; --model is then its name there.")]
Protocol = Annotated[
    str, typer.Option(help="v2, mlflow, instances, huggingface, openai, openai-completions or openai-sampled.")
]
Output = Annotated[str | None, typer.Option("--output", help="The output tensor or field to read.")]
Label = Annotated[list[str] | None, typer.Option(help="A class name, in order; for openai the words. Repeat it.")]
Answer = Annotated[str | None, typer.Option(help="The answer to score (openai-completions, openai-sampled).")]
Outputs = Annotated[str, typer.Option(help="What the numbers are: scores, labels, top-k, rounded, sampled.")]
ApiKey = Annotated[str | None, typer.Option(help="NAME of the environment variable that holds the API key.")]
Concurrency = Annotated[int, typer.Option(help="Requests at once.")]
Rps = Annotated[float | None, typer.Option(help="Requests a second, at most.")]
Tpm = Annotated[float | None, typer.Option(help="Tokens a minute, at most.")]
TimeoutS = Annotated[float, typer.Option("--timeout", help="Seconds a request may take.")]
Store = Annotated[str | None, typer.Option(help="Keep every answer in this file or postgresql:// database.")]
Spare = Annotated[int, typer.Option(help="Extra rows, for repeats of rows that the model may have scored.")]
PerQuery = Annotated[float, typer.Option(help="Price of a row.")]
PerIn = Annotated[float, typer.Option(help="Price of 1000 input tokens.")]
PerOut = Annotated[float, typer.Option(help="Price of 1000 output tokens.")]


def make_oracle(
    endpoint: str,
    *,
    protocol: str = "v2",
    model: str | None = None,
    output: str | None = None,
    labels: list[str] | None = None,
    answer: str | None = None,
    outputs: str = "scores",
    api_key: str | None = None,
    concurrency: int = 8,
    rps: float | None = None,
    tpm: float | None = None,
    timeout_s: float = 60.0,
    batch_size: int | None = None,
    price: Any = None,
) -> Any:
    """An `HTTPOracle` from the options of a command line.

    Raises
    ------
    InvalidInput : options that do not go together.
    """
    from .oracles.http import Completion, HTTPOracle, Sampled

    kinds = ("scores", "labels", "top-k", "rounded", "sampled")
    if outputs not in kinds:
        raise InvalidInput(f"--outputs {outputs!r} is none of {', '.join(kinds)}.")
    wire: Any = protocol
    named: dict[str, Any] = {"model": model, "output": output}
    if protocol in ("openai-completions", "openai-sampled"):
        if not model or not answer:
            raise InvalidInput(f"--protocol {protocol} needs --model and --answer.")
        wire = (Completion if protocol == "openai-completions" else Sampled)(model=model, answer=answer)
        named = {}
    return HTTPOracle(
        endpoint,
        wire,
        **named,
        batch_size=batch_size,
        max_concurrency=concurrency,
        requests_per_second=rps,
        tokens_per_minute=tpm,
        timeout_s=timeout_s,
        api_key=api_key,
        outputs=outputs,  # type: ignore[arg-type]
        labels=labels or None,
        price=price,
    )


def probe(
    url: Annotated[str, typer.Argument(help="URL of the model.")],
    protocol: Protocol = "v2",
    model: Annotated[str | None, typer.Option(help="Its name on the server.")] = None,
    output: Output = None,
    label: Label = None,
    answer: Answer = None,
    outputs: Outputs = "scores",
    text: Annotated[str | None, typer.Option(help="A text to send.")] = None,
    columns: Annotated[int | None, typer.Option(help="Send a row of so many zeros.")] = None,
    values: Annotated[str | None, typer.Option(help="A row to send: numbers with commas.")] = None,
    api_key: ApiKey = None,
    concurrency: Concurrency = 8,
    timeout_s: TimeoutS = 60.0,
    price_per_query: PerQuery = 0.0,
    price_in: PerIn = 0.0,
    price_out: PerOut = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what answers at a URL, its inputs, its speed, and what 500 and 5000 queries would take and cost.

    Sends 219 rows at most: three requests each of 1, 8 and 64 rows. Without a row to send, it asks only for what the
    server says of itself.
    """
    from .budget.price import Price
    from .oracles.http.probe import describe, forecast, speed

    price = Price(
        per_query=price_per_query, per_1k_input_tokens=price_in, per_1k_output_tokens=price_out
    )  # zero prices say what is free
    paid = any((price_per_query, price_in, price_out))
    with make_oracle(
        url,
        protocol=protocol,
        model=model,
        output=output,
        labels=label,
        answer=answer,
        outputs=outputs,
        api_key=api_key,
        concurrency=concurrency,
        timeout_s=timeout_s,
        price=price if paid else None,
    ) as oracle:
        found: dict[str, Any] = {"url": oracle.name, "protocol": oracle.wire.name, **describe(oracle)}
        row = _row(text, columns, values, found["inputs"])
        if row is not None:
            speeds = speed(oracle, row)
            found |= {"speed": speeds, "forecast": forecast(oracle, speeds, row)}
    typer.echo(json.dumps(found) if as_json else _shown(found))


def _row(text: str | None, columns: int | None, values: str | None, inputs: list[dict[str, Any]]) -> Any:
    import numpy as np

    if text is not None:
        return text
    if values is not None:
        try:
            return np.array([float(v) for v in values.split(",")])
        except ValueError:
            raise InvalidInput(f"--values {values!r}: numbers with commas between, e.g. 5.1,3.5,1.4,0.2.") from None
    if columns is not None:
        return np.zeros(columns)
    shape = inputs[0].get("shape") if len(inputs) == 1 else None
    if isinstance(shape, list) and len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 0:
        return np.zeros(shape[1])
    return None


def _shown(found: dict[str, Any]) -> str:
    lines = [f"{found['url']} ({found['protocol']})"]
    lines += [f"  GET {path}: {status}" for path, status in found["paths"].items()]
    for side in ("inputs", "outputs"):
        for t in found[side]:
            lines.append(f"  {side[:-1]} {t['name']!r}: {t['datatype']} {t['shape']}")
        if not found[side] and found["paths"]:
            lines.append(f"  {side}: the server names none")
    if "speed" not in found:
        lines.append("  give --values, --columns or --text to measure its speed")
        return "\n".join(lines)
    for size, s in found["speed"].items():
        lines.append(f"  batch of {size:2}: {1000 * s['latency_s']:8.1f} ms, {s['rows_per_s']:8.0f} rows/s")
    for n, f in found["forecast"].items():
        cost = "no price given" if f["cost"] is None else f"at most {f['cost']:g}"
        lines.append(f"  {n} queries: at least {f['seconds']:.1f} s; cost: {cost}")
    return "\n".join(lines)


ledger = typer.Typer(help="What was spent, and what it bought.", invoke_without_command=True, no_args_is_help=False)
StorePath = Annotated[str, typer.Option(help="The store: a file, or a postgresql:// URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _open(store: str) -> Any:
    from .budget.store import AnswerStore

    if "://" not in store and not Path(store).is_file():
        raise InvalidInput(f"There is no store {store!r}.")
    return AnswerStore(store)


@ledger.callback()
def listing(context: typer.Context, store: StorePath = "answers.db", as_json: AsJson = False) -> None:
    """List oracles and budgets: rows spent, saved by the store, failed, and what they cost."""
    if context.invoked_subcommand is not None:
        return
    from .budget.audit import listing as read

    with _open(store) as s:
        found = read(s)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for o in found["oracles"]:
        typer.echo(
            f"oracle {o['identity']}\n  {o['answers']} answers kept; {o['rows']} rows spent, {o['answered']} answered, "
            f"{o['failed']} failed, {o['open']} under way or lost; cost {o['cost']:g}, "
            f"tokens {o['tokens_in']} in, {o['tokens_out']} out"
        )
    for b in found["budgets"]:
        cap = "" if b["max_cost"] is None else f" of {b['max_cost']:g}"
        typer.echo(
            f"budget {b['name']}\n  {b['used']} of {b['limit']} rows, {b['repeated']} of {b['spare']} spare, "
            f"{b['saved']} saved by the store; cost {b['cost']:g}{cap}"
        )


@ledger.command("verify")
def verify_command(store: StorePath = "answers.db") -> None:
    """Recount everything; exit code 2 where the books do not add up."""
    from .budget.audit import verify

    with _open(store) as s:
        wrong = verify(s)
    for line in wrong:
        typer.echo(line)
    typer.echo("the books add up" if not wrong else f"{len(wrong)} things do not add up")
    if wrong:
        raise typer.Exit(2)


@ledger.command("raise")
def raise_command(
    name: Annotated[str, typer.Argument(help="The shared budget.")],
    limit: Annotated[int | None, typer.Option(help="Its new limit, in rows.")] = None,
    spare: Annotated[int | None, typer.Option(help="Its new spare rows.")] = None,
    store: StorePath = "answers.db",
) -> None:
    """Set the caps of a shared budget anew."""
    with _open(store) as s:
        s.raise_limit(name, limit=limit, spare=spare)
