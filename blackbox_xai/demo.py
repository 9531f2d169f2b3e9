"""The demo: real models, several methods at one budget each, what they cost and how good they are, on one page."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import choices, driver, examples, metrics, report
from .attribution import Attribution
from .errors import InvalidInput, TooFewQueries
from .estimators import METHODS
from .examples import Example
from .players import ImageSegments, Players

Floats = NDArray[np.float64]
DEFAULT_METHODS = ("auto", "gefa", "kernelshap", "rise", "sobol")
SCENES: dict[str, tuple[str, dict[str, Any]]] = {
    "cat": ("photo", {"which": "cat"}),
    "coffee": ("photo", {"which": "coffee"}),
    "review": ("review", {}),
    "table": ("table", {}),
}
_STEPS = 25  # points of a deletion curve
_TILE = 16  # pixels: side of the tiles that a photograph loses
_NAMES = {"gefa": "GEFA", "kernelshap": "KernelSHAP", "rise": "RISE", "sobol": "Sobol"}


@dataclass(frozen=True, slots=True)
class Result:
    """One method on one input: its attribution, and how far the score falls when its order is followed (0..1)."""

    label: str
    attribution: Attribution
    aopc: float
    looks_inside: bool = False


def run(
    out: str | Path,
    *,
    budget: int = 500,
    methods: Sequence[str] = DEFAULT_METHODS,
    scenes: Sequence[str] = tuple(SCENES),
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Explain real decisions of real models and write one self-contained page.

    Parameters
    ----------
    out : path of the page, ``.html``.
    budget : int. Rows sent to the model, for each method on each input.
    methods : names from ``estimators.METHODS``.
    scenes : of "cat", "coffee", "review", "table".
    seed : int.
    progress : bool. A bar on stderr.

    Returns
    -------
    Path : of the page.

    Raises
    ------
    InvalidInput : an unknown scene or method.

    Cost: ``budget`` rows a method and input, and on each input about 30 rows a method to judge it.
    """
    unknown = [s for s in scenes if s not in SCENES]
    if unknown:
        raise InvalidInput(f"demo: scene {unknown[0]!r} is unknown; there are {', '.join(SCENES)}.")
    for method in methods:
        choices.resolve_method(method)
    from tqdm import tqdm

    begin = time.perf_counter()
    each = len(methods) * budget + (len(methods) + 2) * (_STEPS + 1)
    sections, sent = [], 0
    with tqdm(total=each * len(scenes), unit="row", disable=not progress, desc="loading") as bar:
        for number, scene in enumerate(scenes):
            kind, options = SCENES[scene]
            bar.set_description(f"{scene}: loading")
            example = examples.load(kind, **options)
            results, rows, chance, refused = _explained(example, methods, budget, seed, scene, bar)
            sections.append(_section(example, results, rows, chance, refused))
            sent += rows + sum(r.attribution.ledger["scored"] for r in results if not r.looks_inside)
            bar.update((number + 1) * each - bar.n)
        bar.set_description("done")
    seconds = time.perf_counter() - begin
    path = Path(out)
    path.write_text(report.page("Why did the model say that?", sections, lead=_lead(budget, sent, seconds)), "utf-8")
    return path


def _explained(
    example: Example, methods: Sequence[str], budget: int, seed: int, scene: str, bar: Any
) -> tuple[list[Result], int, float, str]:
    """Every method on one input; rows spent on judging them, what a random order scores, who needs more rows."""
    found: list[tuple[str, Attribution, bool]] = []
    refused = ""
    for method in methods:
        try:
            driver.plan(example.oracle, example.x, budget=budget, method=method, baseline=example.baseline)
        except TooFewQueries as error:
            refused += f" {_NAMES.get(method, method)} needs at least {error.needed} queries here."
            continue
        bar.set_description(f"{scene}: {method}")
        a = driver.explain(
            example.oracle, example.x, budget=budget, method=method, baseline=example.baseline, seed=seed,
            progress=_advance(bar),
        )  # fmt: skip
        label = f"auto: {a.method}" if method == "auto" != a.method else _NAMES.get(method, method)
        found.append((label, a, False))
    if not found:
        raise InvalidInput(f"demo: a budget of {budget} is too small for every method asked for.{refused}")
    target = found[0][1].target
    assert target is not None
    if example.inside is not None:
        bar.set_description(f"{scene}: integrated gradients")
        found.append(("Integrated gradients", example.inside(target[0]), True))
    bar.set_description(f"{scene}: judging")
    judge = metrics.Evaluation(example.oracle, _parts(example), target=target[0])

    def aopc(values: Floats) -> float:
        curve = metrics.deletion(judge, None, values, steps=_STEPS, seed=seed)
        bar.update(curve.rows_sent)
        return curve.aopc

    results = [Result(label, a, aopc(_worth(a)), inside) for label, a, inside in found]
    chance = aopc(np.random.default_rng(seed).permutation(judge.n_players).astype(np.float64))
    return results, judge.rows_sent, chance, refused


def _advance(bar: Any) -> Callable[[int, int], None]:
    before = 0

    def advance(done: int, _: int) -> None:
        nonlocal before
        bar.update(done - before)
        before = done

    return advance


def _parts(example: Example) -> Players:
    """What is deleted to judge an attribution: tiles, words or columns.

    Not single pixels: a network trips over scattered ones, so that any order that looks like noise seems good.
    """
    if example.name == "photo":
        return ImageSegments(example.x, example.baseline, segments=_tiles(*example.x.shape[:2]))
    return choices.make_players(example.x, None, example.baseline, None, 0, pixels=False)


def _tiles(height: int, width: int) -> NDArray[np.intp]:
    """Labels (H, W) of square tiles."""
    row, column = np.arange(height) // _TILE, np.arange(width) // _TILE
    labels: NDArray[np.intp] = row[:, None] * (column[-1] + 1) + column[None, :]
    return labels


def _worth(a: Attribution) -> Floats:
    """One number a part that is deleted: a tile's is the mean of its pixels'."""
    if a.kind != "image":
        return a.values
    labels = _tiles(*a.data.shape[:2]).ravel()
    sums: Floats = np.bincount(labels, weights=a.spread().ravel()) / np.bincount(labels)
    return sums


def _lead(budget: int, sent: int, seconds: float) -> str:
    return (
        "<p>Each model below was only <b>queried</b>: inputs in, scores out. Each method had "
        f"<b>{budget} queries</b> (input rows scored) to find out which parts of the input the decision rests on. "
        "Red raises the score of the answer, blue lowers it. Integrated gradients, which looks inside the model, "
        "stands beside them as a reference.</p>"
        f'<p class="small">{sent} rows were sent in {seconds:.0f} seconds, loading and training the models included. '
        "<b>Deletion AOPC</b>: words, columns or tiles of 16 x 16 pixels are taken away, those that raise the score "
        "most first; the figure is "
        "the mean fall of the score as a share of its start. Higher is better; a random order is given "
        "for comparison. Parts taken away become the same baseline that the methods used.</p>"
    )


def _section(example: Example, results: list[Result], rows: int, chance: float, refused: str) -> str:
    first = results[0].attribution
    answer, title, model = (
        html.escape(v) for v in (first.output_names[0], _capital(example.title), _capital(example.model))
    )
    body = _gallery(results) if example.name == "photo" else _list(example, results)
    return (
        f"<h2>{title}: “{answer}”, {first.full_values:.1%}</h2>"
        f'<p class="small">{model}. With everything absent the score is '
        f"{first.base_values:.1%}.</p>{body}{_figures(results, rows, chance, refused)}"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _gallery(results: list[Result]) -> str:
    figures = [(report.photo_of(results[0].attribution), "the photograph")]
    labels = [f"{r.label} (smoothed to be seen)" if r.looks_inside else r.label for r in results]
    figures += [(report.overlay(_seen(r)), label) for r, label in zip(results, labels)]
    inside = "".join(
        f'<figure><img src="{report.png_uri(pixels)}" alt="{html.escape(name)}">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for pixels, name in figures
    )
    return f'<div class="gallery">{inside}</div>'


def _seen(r: Result) -> Attribution:
    """Gradients of single pixels look like dust: smoothed for the picture, never for the figures."""
    if not r.looks_inside:
        return r.attribution
    from scipy.ndimage import gaussian_filter

    return replace(r.attribution, values=gaussian_filter(r.attribution.spread(), 3.0).ravel())


def _same(results: list[Result]) -> str:
    """Names the methods that gave the same numbers."""
    for i, one in enumerate(results):
        for other in results[i + 1 :]:
            a, b = one.attribution.values, other.attribution.values
            if a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-9):
                return f" {one.label} and {other.label} ask for the same coalitions here and give the same numbers."
    return ""


def _list(example: Example, results: list[Result]) -> str:
    shown = []
    for r in results:
        a = r.attribution
        body = report.words(a) if a.kind == "text" else report.bars(a, top=6)
        shown.append(f"<div><h3>{html.escape(r.label)}</h3>{body}</div>")
    scale = report.scale(results[0].attribution, numbers=False) if example.name == "review" else ""
    if scale and any(r.attribution.std_error is not None for r in results):
        scale += '<p class="bbx-note">Pale with a dashed frame: the sign is not certain at 95%.</p>'
    return f'<div class="bbx">{"".join(shown)}{scale}</div>'


def _figures(results: list[Result], rows: int, chance: float, refused: str) -> str:
    head = "<tr><th>method</th><th>estimates</th><th>parts</th><th>rows sent</th><th>s in model</th>"
    lines = [head + "<th>s outside</th><th>deletion AOPC</th></tr>"]
    for r in results:
        ledger, parts = r.attribution.ledger, f"{len(r.attribution.values)}"
        if r.looks_inside:
            means, sent = "gradients along a path", f"({ledger['scored']} gradients)"
        else:
            means, sent = METHODS[r.attribution.method].estimates, f"{ledger['scored']}"
        lines.append(
            f"<tr><td>{html.escape(r.label)}</td><td>{html.escape(means)}</td><td>{parts}</td><td>{sent}</td>"
            f"<td>{ledger['seconds_model']:.2f}</td><td>{ledger['seconds_outside']:.2f}</td><td>{r.aopc:.3f}</td></tr>"
        )
    lines.append(f"<tr><td>random order</td><td></td><td></td><td></td><td></td><td></td><td>{chance:.3f}</td></tr>")
    notes = f"{rows} further rows judged them.{_same(results)}{html.escape(refused)}"
    return f'<table class="figures">{"".join(lines)}</table><p class="small">{notes}</p>'
