"""Pictures of an attribution, with matplotlib. Axes in, Axes out; nothing is ever shown."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attribution import Attribution
from .errors import InvalidInput, need

UNSIGNED = frozenset({"sobol", "hsic"})  # methods whose values have no sign
POSITIVE, NEGATIVE, PLAIN = "#b2182b", "#2166ac", "#54278f"
_SIGNED_MAP, _UNSIGNED_MAP = "RdBu_r", "Purples"


def plot(
    attribution: Attribution,
    ax: Any = None,
    *,
    output: int | str | None = None,
    top: int = 15,
    level: float = 0.95,
    limit: float | None = None,
    uncertainty: bool | None = None,
    cmap: str | None = None,
    title: str | None = None,
) -> Any:
    """Draw an attribution: a heat map over the photo, highlighted words, or sorted bars.

    Red raises the explained output, blue lowers it; methods without a sign are purple. Where the sign is not certain
    (the interval at `level` holds 0) words are pale with a dashed frame and bars are pale and hatched.

    Parameters
    ----------
    ax : matplotlib Axes to draw on, or None: a new pyplot figure (images: photo, map and overlay side by side).
    output : which output, where several were explained.
    top : players shown as bars, at most; the others are summed in one bar.
    level : of the intervals, 0..1.
    limit : value at full colour; default: the largest, for images the 99th percentile of absolute values.
    uncertainty : bool or None. Images: one more panel, the value in standard errors. Needs ``ax=None``; default: where
        there are standard errors.
    cmap : matplotlib colour map.
    title : default: the output and how far its score moves.

    Returns
    -------
    matplotlib Axes (the last one drawn, for images).

    Raises
    ------
    InvalidInput : several outputs and none chosen; no standard errors where they are asked for.
    MissingExtra : matplotlib is not installed.
    """
    need("matplotlib", "plots", "Attribution.plot")
    a = one_output(attribution, output)
    if not (limit is None or limit > 0):
        raise InvalidInput(f"plot: limit must be > 0, got {limit}.")
    if uncertainty is None:
        uncertainty = ax is None and a.kind == "image" and a.std_error is not None and a.method not in UNSIGNED
    if uncertainty and a.std_error is None:
        raise InvalidInput(f"plot: {a.method} gives no standard errors; leave out uncertainty=True.")
    if uncertainty and (ax is not None or a.kind != "image"):
        raise InvalidInput("plot: uncertainty=True adds a panel to a picture of an image; leave out ax.")
    cmap = cmap or (_UNSIGNED_MAP if a.method in UNSIGNED else _SIGNED_MAP)
    title = headline(a) if title is None else title
    if a.kind == "image" and a.data is not None:
        return _image(a, ax, limit, uncertainty, cmap, title)
    if a.kind in ("text", "prompt") and "spans" in a.layout and isinstance(a.data, str):
        return _text(a, ax, limit, level, cmap, title)
    if a.kind == "series" and np.ndim(a.data) == 1 and "spans" in a.layout:
        return _series(a, ax, limit, cmap, title)
    return _bars(a, ax, top, level, title)


def one_output(a: Attribution, output: int | str | None = None) -> Attribution:
    """The attribution of one output.

    Raises
    ------
    InvalidInput : there are several, and none was chosen.
    """
    if a.values.ndim == 1:
        return a
    if output is not None:
        return a.output(output)
    if a.values.shape[1] == 1:
        return a.output(0)
    names = ", ".join(repr(n) for n in a.output_names[:6]) + (", ..." if len(a.output_names) > 6 else "")
    raise InvalidInput(f"plot: {len(a.output_names)} outputs were explained ({names}); choose one with output=...")


def headline(a: Attribution) -> str:
    """'espresso: 0.021 (all absent) to 0.940', with what is partial."""
    text = f"{a.output_names[0]}: {short(a.base_values)} (all absent) → {short(a.full_values)}"
    return text if a.status.startswith("complete") else f"{text}\n{a.status}"


def uncertain(a: Attribution, level: float = 0.95) -> NDArray[np.bool_]:
    """(d,) True where the interval at `level` holds 0, so that the sign may be wrong."""
    if a.std_error is None or a.method in UNSIGNED:
        return np.zeros(len(a.values), bool)
    low, high = a.interval(level)
    return (low <= 0) & (high >= 0)


def colour_limit(a: Attribution) -> float:
    """Value drawn at full colour: robust for images, where single pixels stick out, else the largest."""
    size = np.abs(a.values[np.isfinite(a.values)])
    if size.size == 0 or size.max() == 0:
        return 1.0
    robust = float(np.percentile(np.abs(a.spread()), 99)) if a.kind == "image" else 0.0
    return robust or float(size.max())


def ranked(a: Attribution, top: int) -> tuple[list[int], list[int]]:
    """Players shown as bars, largest first, and those summed up; a remainder of one is shown."""
    order = [int(i) for i in np.argsort(-np.abs(a.values), kind="stable")]
    return (order, []) if len(order) <= top + 1 else (order[:top], order[top:])


def bar_label(a: Attribution, player: int) -> str:
    """A player's name, with its value in the row where the input is one."""
    name = a._name(player)
    if a.kind == "table" and isinstance(a.data, (list, tuple, np.ndarray)) and len(a.data) == len(a.values):
        value = a.data[player]
        if not isinstance(value, (list, tuple)):
            name += f" = {short(value)}"
    return name


def short(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        return str(value)
    return f"{float(value):.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{float(value):.2e}"


def _norm(a: Attribution, limit: float | None, cmap: str) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    top = colour_limit(a) if limit is None else limit
    return ScalarMappable(Normalize(0.0 if a.method in UNSIGNED else -top, top), cmap)


def _new(width: float, height: float, columns: int = 1) -> Any:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
    return figure, axes[0]


def _colour_bar(mappable: Any, ax: Any, label: str, **options: Any) -> None:
    bar = ax.figure.colorbar(mappable, ax=ax, **options)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def _meaning(a: Attribution) -> str:
    return f"{a.method}: share, no sign" if a.method in UNSIGNED else f"{a.method}: effect on the score"


def _image(a: Attribution, ax: Any, limit: float | None, uncertainty: bool, cmap: str, title: str) -> Any:
    heat = a.spread()
    photo = np.asarray(a.data, np.float64) / (255.0 if np.asarray(a.data).dtype == np.uint8 else 1.0)
    photo = np.clip(np.repeat(photo, 3, axis=2) if photo.shape[2] == 1 else photo, 0, 1)
    mappable = _norm(a, limit, cmap)
    colours = mappable.to_rgba(heat)
    strength = np.clip(np.abs(heat) / mappable.norm.vmax, 0, 1)
    grey = np.repeat((photo @ [0.299, 0.587, 0.114])[:, :, None], 3, axis=2)
    over = grey * 0.7 + 0.3
    weight = (strength**0.7)[..., None] * 0.85
    over = over * (1 - weight) + colours[..., :3] * weight
    panels = [("the input", photo), ("values", colours), (title, over)]
    if ax is not None:
        axes, panels = [ax], panels[-1:]
    else:
        columns = 4 if uncertainty else 3
        height = 3.1 * min(2.0, heat.shape[0] / heat.shape[1]) + 0.5
        _, axes = _new(3.1 * columns + 0.8, height, columns)
    for panel, (name, picture) in zip(axes, panels):
        panel.imshow(picture, interpolation="nearest")
        panel.set_title(name, fontsize=10)
        panel.set_axis_off()
    last = axes[len(panels) - 1]
    _colour_bar(mappable, last, _meaning(a), fraction=0.046, pad=0.04, extend="both" if limit is None else "neither")
    if uncertainty:
        _certainty(a, axes[-1], heat)
    return last


def _certainty(a: Attribution, ax: Any, heat: NDArray[np.float64]) -> None:
    from dataclasses import replace

    error = replace(a, values=a.std_error, std_error=None).spread()
    z = np.divide(heat, error, out=np.zeros_like(heat), where=error > 0)
    label = "|value| in standard errors"
    if len(a.values) == z.size:  # single pixels: speckle cannot be read
        from scipy.ndimage import gaussian_filter

        z, label = gaussian_filter(z, min(z.shape) / 75), "|value| in standard errors, mean nearby"
    z = np.abs(z)
    shown = ax.imshow(z, cmap="cividis", vmin=0, vmax=max(2.5, float(np.percentile(z, 99))), interpolation="nearest")
    if z.min() < 1.96 < z.max():
        ax.contour(z, levels=[1.96], colors="white", linewidths=0.7)
    ax.set_title("certainty (inside the line: sign certain at 95%)", fontsize=8)
    ax.set_axis_off()
    _colour_bar(shown, ax, label, fraction=0.046, pad=0.04)


def _bars(a: Attribution, ax: Any, top: int, level: float, title: str) -> Any:
    if top < 1:
        raise InvalidInput(f"plot: top must be at least 1, got {top}.")
    shown, rest = ranked(a, top)
    labels = [textwrap.shorten(bar_label(a, i), 48, placeholder="…") or "(blank)" for i in shown]
    values = [float(a.values[i]) for i in shown]
    doubt = uncertain(a, level)
    pale = [bool(doubt[i]) for i in shown]
    half = None
    if a.std_error is not None:
        half = [float(a.interval(level)[1][i] - a.values[i]) for i in shown]
    if rest:
        labels.append(f"{len(rest)} others")
        values.append(float(a.values[rest].sum()))
        pale.append(False)
        if half is not None:
            half.append(np.nan)  # the players' errors are not independent: no interval for a sum
    if ax is None:
        _, (ax,) = _new(6.8, 0.9 + 0.3 * len(labels))
    place = np.arange(len(labels))
    for y, value, unsure in zip(place, values, pale):
        colour = PLAIN if a.method in UNSIGNED else (POSITIVE if value >= 0 else NEGATIVE)
        if unsure:
            ax.barh(y, value, 0.72, facecolor="#f2f2f2", edgecolor=colour, hatch="////", linewidth=0.8)
        else:
            ax.barh(y, value, 0.72, color=colour)
    if half is not None:
        ax.errorbar(values, place, xerr=half, fmt="none", ecolor="#222222", elinewidth=1.1, capsize=2.5)
    ax.axvline(0, color="#222222", linewidth=0.8)
    ax.set_yticks(place, labels, fontsize=9)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    note = "" if half is None else f", {level:.0%} intervals" + ("; hatched: sign not certain" if any(pale) else "")
    ax.set_xlabel(_meaning(a) + note, fontsize=9)
    ax.set_title(title, fontsize=10)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _series(a: Attribution, ax: Any, limit: float | None, cmap: str, title: str) -> Any:
    mappable = _norm(a, limit, cmap)
    if ax is None:
        _, (ax,) = _new(8.0, 2.8)
    data = np.asarray(a.data, np.float64)
    for (start, end), value in zip(a.layout["spans"], a.values):
        ax.axvspan(start - 0.5, end - 0.5, color=mappable.to_rgba(value), alpha=0.8, linewidth=0)
    ax.plot(np.arange(len(data)), data, color="#111111", linewidth=1.2)
    ax.set_xlim(-0.5, len(data) - 0.5)
    ax.set_title(title, fontsize=10)
    _colour_bar(mappable, ax, _meaning(a), fraction=0.046, pad=0.02)
    return ax


def _text(a: Attribution, ax: Any, limit: float | None, level: float, cmap: str, title: str) -> Any:
    """Words at measured places, wrapped to the width of the axes."""
    mappable = _norm(a, limit, cmap)
    pieces = text_pieces(a)
    new = ax is None
    if new:
        rows = len(_wrap(pieces, 8.0 * 72 - 24, 11.0))
        _, (ax,) = _new(8.0, 1.2 + rows * 11.0 * 2.0 / 72)
    ax.set_axis_off()
    ax.set_title(title, fontsize=10)
    box = ax.get_window_extent()
    scale = 72.0 / ax.figure.dpi
    width, height = box.width * scale, box.height * scale
    size = 11.0
    if new:
        width, height = 8.0 * 72 - 24, 0.0
    else:
        while size > 6 and len(_wrap(pieces, width, size)) * 2.0 * size > height:
            size -= 0.5
    lines = _wrap(pieces, width, size)
    ax.set_xlim(0, width)
    ax.set_ylim(max(height, len(lines) * 2.0 * size), 0)
    doubt = uncertain(a, level)
    for row, line in enumerate(lines):
        for x, word, player in line:
            style: dict[str, Any] = {}
            ink = "#111111"
            if player is not None:
                face = np.array(mappable.to_rgba(a.values[player]))
                if doubt[player]:
                    face[:3] = 0.6 + 0.4 * face[:3]
                ink = "#111111" if face[:3] @ [0.299, 0.587, 0.114] > 0.5 else "white"
                edge = "#777777" if doubt[player] else "none"
                style["bbox"] = {
                    "boxstyle": "square,pad=0.18",
                    "facecolor": tuple(face),
                    "edgecolor": edge,
                    "linestyle": (0, (2, 2)),
                    "linewidth": 0.7,
                }
            ax.text(x, (row + 0.5) * 2.0 * size, word, fontsize=size, va="center_baseline", color=ink,
                    parse_math=False, **style)  # fmt: skip
    label = _meaning(a) + ("; pale with a dashed frame: sign not certain" if doubt.any() else "")
    _colour_bar(mappable, ax, label, orientation="horizontal", fraction=0.06, pad=0.04, aspect=50)
    return ax


def text_pieces(a: Attribution) -> list[tuple[str, int | None]]:
    """The text in order: (string, player or None); white space between words is kept."""
    pieces: list[tuple[str, int | None]] = []
    at = 0
    for player, (start, end) in enumerate(a.layout["spans"]):
        if start > at:
            pieces.append((a.data[at:start], None))
        pieces.append((a.data[start:end], player))
        at = end
    if at < len(a.data):
        pieces.append((a.data[at:], None))
    return pieces


def _wrap(pieces: list[tuple[str, int | None]], width: float, size: float) -> list[list[tuple[float, str, int | None]]]:
    """Lines of (x in points, word, player); words wider than a line stand alone."""
    from matplotlib.textpath import TextPath

    widths: dict[str, float] = {}

    def measure(word: str) -> float:
        if word not in widths:
            widths[word] = (
                float(TextPath((0, 0), word.replace("$", r"\$"), size=size).get_extents().width) + 0.12 * size
            )
        return widths[word]

    lines: list[list[tuple[float, str, int | None]]] = [[]]
    x = 0.0
    for string, player in pieces:
        for part in _split(string):
            if part == "\n":
                lines.append([])
                x = 0.0
            elif part.isspace():
                x += 0.45 * size if x else 0.0
            else:
                if x and x + measure(part) > width:
                    lines.append([])
                    x = 0.0
                lines[-1].append((x, part, player))
                x += measure(part) + 0.1 * size
    return lines


def _split(string: str) -> list[str]:
    """Words, spaces and line ends."""
    parts: list[str] = []
    for number, line in enumerate(string.split("\n")):
        if number:
            parts.append("\n")
        word = ""
        for c in line:
            if c.isspace():
                parts += [word, " "] if word else [" "]
                word = ""
            else:
                word += c
        if word:
            parts.append(word)
    return parts
