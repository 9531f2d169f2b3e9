"""Attributions as self-contained HTML: no network, no script, and nothing but numpy needed to write it."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attribution import Attribution
from .plots import (
    NEGATIVE,
    PLAIN,
    POSITIVE,
    UNSIGNED,
    bar_label,
    colour_limit,
    ranked,
    short,
    text_pieces,
    uncertain,
)

_WIDEST = 448  # pixels of an image's longer side in a page
_OUTPUTS = 6  # outputs drawn, at most
# ColorBrewer RdBu (reversed) and Purples, 11 and 9 classes: safe for the colour-blind
_SIGNED = ["053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b", "67001f"]
_SHARES = ["fcfbfd", "efedf5", "dadaeb", "bcbddc", "9e9ac8", "807dba", "6a51a3", "54278f", "3f007d"]

STYLE = """
.bbx{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1d1d1f;
background:#fff;max-width:960px;padding:2px}
.bbx h4{font-size:15px;margin:.2em 0 .5em}
.bbx .bbx-note{color:#5c5c63;font-size:12px;margin:.4em 0}
.bbx .bbx-warn{background:#fff4d6;border-left:4px solid #d99a00;padding:.4em .7em;margin:.5em 0}
.bbx .bbx-row{display:flex;flex-wrap:wrap;gap:14px}
.bbx figure{margin:0;width:260px}
.bbx figure img{width:100%;display:block;border-radius:3px}
.bbx figcaption{font-size:12px;color:#5c5c63;margin-top:3px}
.bbx .bbx-text{font-size:15px;line-height:2.05;margin:.4em 0;white-space:pre-wrap}
.bbx .bbx-text span{padding:2px 3px;border-radius:3px}
.bbx .bbx-text span.bbx-pale{outline:1px dashed #9a9aa0;outline-offset:-1px}
.bbx table.bbx-bars{border-collapse:collapse;font-size:13px;color:inherit;background:none}
.bbx table.bbx-bars td{padding:1px 6px;border:0;text-align:right;vertical-align:middle;
background:none;white-space:nowrap}
.bbx table.bbx-bars td.bbx-num{font-variant-numeric:tabular-nums;color:#3a3a40}
.bbx .bbx-scale{display:flex;align-items:center;gap:8px;font-size:12px;color:#5c5c63;margin:.5em 0}
.bbx .bbx-scale i{display:inline-block;width:180px;height:11px;border-radius:2px}
"""

_PAGE_STYLE = """
body{margin:0;background:#f4f4f6;color:#1d1d1f;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:28px;margin:.2em 0 .3em} h2{font-size:21px;margin:0 0 .3em} h3{font-size:16px;margin:1.3em 0 .4em}
section{background:#fff;border:1px solid #e3e3e8;border-radius:10px;padding:20px 24px;margin:20px 0;overflow-x:auto}
p{max-width:46em} code{background:#eeeef2;padding:1px 4px;border-radius:3px;font-size:90%}
table.figures{border-collapse:collapse;font-size:13.5px;margin:.6em 0;font-variant-numeric:tabular-nums}
table.figures th,table.figures td{padding:4px 9px;border-bottom:1px solid #e3e3e8;text-align:right}
table.figures th{white-space:nowrap}
table.figures :is(th,td):nth-child(-n+2){text-align:left}
table.figures th{font-weight:600;color:#5c5c63;font-size:13px}
.gallery{display:flex;flex-wrap:wrap;gap:16px} .gallery figure{margin:0;width:304px;max-width:100%}
.gallery img{width:100%;display:block;border-radius:4px}
.gallery figcaption{font-size:13px;color:#3a3a40;margin-top:4px}
.small{font-size:13px;color:#5c5c63;max-width:62em}
@media(max-width:600px){section{padding:14px}main{padding:14px 8px}}
"""


def fragment(attribution: Attribution, *, style: bool = True, top: int = 15) -> str:
    """HTML of one attribution, to stand in a page or a notebook.

    Parameters
    ----------
    style : bool. Include the style sheet; once a page is enough.
    top : players shown as bars, at most.

    Returns
    -------
    str : one ``<div class="bbx">``; text of the input and names are escaped.
    """
    a = attribution
    parts = [f"<style>{STYLE}</style>" if style else ""]
    if not a.status.startswith("complete"):
        parts.append(f'<div class="bbx-warn"><b>{_e(a.status)}</b>{": " + _e(a.error) if a.error else ""}</div>')
    outputs = [a] if a.values.ndim == 1 else [a.output(j) for j in range(min(a.values.shape[1], _OUTPUTS))]
    for each in outputs:
        parts.append(f"<h4>{heading(each)}</h4>")
        parts.append(body(each, top=top))
    if a.values.ndim == 2 and a.values.shape[1] > _OUTPUTS:
        parts.append(f'<p class="bbx-note">{a.values.shape[1] - _OUTPUTS} more outputs are not drawn.</p>')
    parts.append(f'<p class="bbx-note">{_e(spent(a))}</p>')
    return f'<div class="bbx">{"".join(parts)}</div>'


def page(title: str, sections: Iterable[str | Attribution], *, lead: str = "") -> str:
    """A whole HTML page.

    Parameters
    ----------
    title : str, escaped.
    sections : HTML strings (as they are) or attributions, one ``<section>`` each.
    lead : HTML under the title.
    """
    inside = "".join(
        f"<section>{fragment(s, style=False) if isinstance(s, Attribution) else s}</section>" for s in sections
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_e(title)}</title><style>{_PAGE_STYLE}{STYLE}</style></head>"
        f"<body><main><h1>{_e(title)}</h1>{lead}{inside}</main></body></html>"
    )


def heading(a: Attribution) -> str:
    """'output: from the empty to the full score', escaped."""
    return f"{_e(a.output_names[0])}: {short(a.base_values)} (all absent) → {short(a.full_values)}"


def spent(a: Attribution) -> str:
    """What it cost, in a line."""
    ledger = a.ledger
    parts = [f"method {a.method}"] if a.method else []
    if "scored" in ledger:
        limit = f" of {ledger['budget']}" if "budget" in ledger else ""
        parts.append(f"{ledger['scored']}{limit} rows sent to the model")
    if "seconds_model" in ledger:
        parts.append(f"{ledger['seconds_model']:.1f} s in the model, {ledger['seconds_outside']:.1f} s outside")
    parts.append(f"seed {a.seed}")
    residual = np.atleast_1d(a.residual)
    if a.method not in UNSIGNED and np.abs(residual).max() > 1e-6:
        parts.append(f"unexplained {short(float(residual[np.argmax(np.abs(residual))]))}")
    return ", ".join(parts)


def body(a: Attribution, *, top: int = 15) -> str:
    """The picture, the words or the bars of one output."""
    if a.kind == "image" and a.data is not None:
        return _image(a) + scale(a)
    if a.kind in ("text", "prompt") and "spans" in a.layout and isinstance(a.data, str):
        return words(a) + scale(a)
    return bars(a, top=top)


def words(a: Attribution) -> str:
    """The text with coloured words; the value of each as its tooltip."""
    limit, doubt, out = colour_limit(a), uncertain(a), []
    for string, player in text_pieces(a):
        if player is None:
            out.append(_e(string))
            continue
        value = float(a.values[player])
        colour = _rgb(a, np.array([value]), limit)[0].astype(float)
        if doubt[player]:
            colour = 255 * 0.6 + colour * 0.4
        ink = "#111" if colour @ [0.299, 0.587, 0.114] > 128 else "#fff"
        tip = f"{short(value)}" + ("" if a.std_error is None else f" ± {short(_half(a, player))}")
        shade = ",".join(str(int(c)) for c in colour)
        pale = ' class="bbx-pale"' if doubt[player] else ""
        out.append(f'<span{pale} style="background:rgb({shade});color:{ink}" title="{_e(tip)}">{_e(string)}</span>')
    return f'<div class="bbx-text">{"".join(out)}</div>'


def bars(a: Attribution, *, top: int = 15) -> str:
    """Sorted signed bars with 95% intervals, as a table with inline SVG."""
    shown, rest = ranked(a, top)
    doubt = uncertain(a)
    rows = [(bar_label(a, i), float(a.values[i]), _half(a, i), bool(doubt[i])) for i in shown]
    if rest:
        rows.append((f"{len(rest)} others", float(a.values[rest].sum()), None, False))
    low = min([0.0, *(v - (h or 0.0) for _, v, h, _ in rows)])
    high = max([0.0, *(v + (h or 0.0) for _, v, h, _ in rows)])
    scale = 340.0 / ((high - low) or 1.0)
    lines = []
    for name, value, half, unsure in rows:
        name = name if len(name) <= 60 else name[:59] + "…"
        number = f"{value:+.4f}" if a.method not in UNSIGNED else f"{value:.4f}"
        if half is not None:
            number += f" ± {half:.4f}"
        lines.append(
            f"<tr><td>{_e(name)}</td><td>{_bar(a, value, half, unsure, low, scale)}</td>"
            f'<td class="bbx-num">{number}</td></tr>'
        )
    note = ""
    if a.std_error is not None:
        note = "Lines are 95% intervals." + (" Striped: the sign is not certain." if doubt[shown].any() else "")
    return f'<table class="bbx-bars">{"".join(lines)}</table>' + (f'<p class="bbx-note">{note}</p>' if note else "")


def _bar(a: Attribution, value: float, half: float | None, unsure: bool, low: float, scale: float) -> str:
    zero, x = (0 - low) * scale + 5, (value - low) * scale + 5
    colour = PLAIN if a.method in UNSIGNED else (POSITIVE if value >= 0 else NEGATIVE)
    left, width = min(zero, x), abs(x - zero)
    shapes = [f'<rect x="{left:.1f}" y="3" width="{width:.1f}" height="12" fill="{colour}"/>']
    if unsure:  # stripes without ids, which would clash between fragments
        stripes = "".join(
            f'<rect x="{left + s:.1f}" y="4" width="{min(2.0, width - s):.1f}" height="10" fill="#fff"/>'
            for s in np.arange(2.0, max(width, 2.0), 4.0)
            if width - s > 0
        )
        shapes.append(stripes)
    if half is not None:
        a0, a1 = x - half * scale, x + half * scale
        shapes.append(
            f'<path d="M{a0:.1f} 9H{a1:.1f}M{a0:.1f} 6V12M{a1:.1f} 6V12" stroke="#111" fill="none" stroke-width="1.2"/>'
        )
    shapes.append(f'<path d="M{zero:.1f} 0V18" stroke="#555" stroke-width="1"/>')
    return f'<svg width="350" height="18" viewBox="0 0 350 18" role="img">{"".join(shapes)}</svg>'


def _half(a: Attribution, player: int) -> float | None:
    if a.std_error is None:
        return None
    return float(a.interval(0.95)[1][player] - a.values[player])


def scale(a: Attribution, *, numbers: bool = True) -> str:
    """The colour scale; `numbers` False where several attributions share it, each with its own limit."""
    limit = colour_limit(a)
    low, high, text = short(-limit), short(limit), "blue lowers the score, red raises it"
    if a.method in UNSIGNED:
        low, text = "0", "share, no sign"
    if uncertain(a).any() and a.kind != "image" and numbers:
        text += "; pale with a dashed frame: sign not certain at 95%"
    if not numbers:
        low, high = "lowers", "raises"
        text = "each with its own scale; purple: a share, which has no sign"
    gradient = ",".join(f"#{s}" for s in (_SHARES if a.method in UNSIGNED else _SIGNED))
    return (
        f'<div class="bbx-scale">{low}<i style="background:linear-gradient(90deg,{gradient})"></i>{high}'
        f"<span>{text}</span></div>"
    )


def _image(a: Attribution) -> str:
    photo = png_uri(photo_of(a))
    figures = [("the input", photo), ("values", png_uri(heat_of(a))), ("values over the input", png_uri(overlay(a)))]
    inside = "".join(
        f'<figure><img src="{uri}" alt="{name}"><figcaption>{name}</figcaption></figure>' for name, uri in figures
    )
    return f'<div class="bbx-row">{inside}</div>'


def photo_of(a: Attribution) -> NDArray[np.uint8]:
    """The input image, uint8 (H, W, 3), no larger than a page needs."""
    data = np.asarray(a.data)
    photo = data if data.dtype == np.uint8 else np.clip(np.rint(np.asarray(data, float) * 255), 0, 255).astype(np.uint8)
    photo = np.repeat(photo, 3, axis=2) if photo.shape[2] == 1 else photo
    return np.rint(_fit(photo.astype(np.float64))).astype(np.uint8)


def heat_of(a: Attribution) -> NDArray[np.uint8]:
    """The values as colours, uint8 (H, W, 3)."""
    return _rgb(a, _fit(a.spread()), colour_limit(a))


def overlay(a: Attribution) -> NDArray[np.uint8]:
    """The values as colours over the greyed input, uint8 (H, W, 3)."""
    heat, limit = _fit(a.spread()), colour_limit(a)
    grey = (photo_of(a) @ [0.299, 0.587, 0.114])[..., None] * 0.7 + 255 * 0.3
    weight = (np.clip(np.abs(heat) / limit, 0, 1) ** 0.7)[..., None] * 0.85
    return np.rint(grey * (1 - weight) + _rgb(a, heat, limit) * weight).astype(np.uint8)


def _fit(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averaged over square blocks where the picture is larger than a page needs."""
    factor = -(-max(picture.shape[:2]) // _WIDEST)
    if factor == 1:
        return picture
    h, w = (n // factor for n in picture.shape[:2])
    cut = picture[: h * factor, : w * factor]
    return cut.reshape(h, factor, w, factor, *picture.shape[2:]).mean(axis=(1, 3))


def _rgb(a: Attribution, values: NDArray[np.float64], limit: float) -> NDArray[np.uint8]:
    """Colours uint8 (..., 3) of values."""
    stops = np.array(
        [[int(s[i : i + 2], 16) for i in (0, 2, 4)] for s in (_SHARES if a.method in UNSIGNED else _SIGNED)]
    )
    t = np.clip(values / limit if a.method in UNSIGNED else (values / limit + 1) / 2, 0, 1) * (len(stops) - 1)
    at = np.arange(len(stops))
    return np.stack([np.rint(np.interp(t, at, stops[:, c])) for c in range(3)], axis=-1).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG file of uint8 (H, W, 3)."""
    h, w, _ = pixels.shape
    # Filter 1 (difference to the pixel on the left) packs photographs better than none.
    left = np.zeros_like(pixels)
    left[:, 1:] = pixels[:, :-1]
    rows = np.concatenate([np.ones((h, 1), np.uint8), (pixels - left).reshape(h, w * 3)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def _e(text: Any) -> str:
    return html.escape(str(text), quote=True)
