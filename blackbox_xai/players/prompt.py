"""Prompts of a language model: words, sentences or marked segments as players; the rest always stays."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .text import Spans

_WORD = re.compile(r"\S+\s*")
_SENTENCE = re.compile(r"\S[\s\S]*?(?:[.!?]+(?=\s|\Z)|\n|\Z)\s*")
_OPEN, _CLOSE = "[[", "]]"


class PromptSegments(Spans):
    """Segments of a prompt. What is no segment (roles, the question, the output format) is always there.

    Parameters
    ----------
    prompt : str. The text sent to the model; with `split` "marked", the segments stand between ``[[`` and ``]]``,
        which are taken out.
    split : "sentences", "words", "marked", or a list of (start, end) character offsets in `prompt`.
    within : (start, end) or None. Split only this part of the prompt; the rest stays.
    baseline : None or "remove", or a text that takes an absent segment's place, e.g. ``"[omitted]"``.
    empty : str. What is sent when nothing is left of the prompt.

    Raises
    ------
    InvalidInput : no segment, marks that do not match, offsets that overlap or leave the prompt.

    A segment owns the blanks behind it, so that removing it leaves no gap. Prompts that read the same are sent once.
    """

    kind: ClassVar[str] = "text"

    def __init__(
        self,
        prompt: str,
        split: Literal["sentences", "words", "marked"] | list[tuple[int, int]] = "sentences",
        *,
        within: tuple[int, int] | None = None,
        baseline: str | None = None,
        empty: str = ".",
    ) -> None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InvalidInput("PromptSegments: the prompt is empty: there is no player to attribute to.")
        if split == "marked":
            prompt, spans = unmarked(prompt)
        elif isinstance(split, str):
            if split not in ("words", "sentences"):
                raise InvalidInput(f"PromptSegments: split {split!r} is none of words, sentences, marked.")
            begin, end = within or (0, len(prompt))
            if not 0 <= begin < end <= len(prompt):
                raise InvalidInput(f"PromptSegments: within={within} leaves the prompt (0..{len(prompt)}).")
            pattern = _WORD if split == "words" else _SENTENCE
            found = (m.span() for m in pattern.finditer(prompt, begin, end))
            spans = [(a, b) for a, b in found if prompt[a:b].strip()]
        else:
            spans = [(int(a), int(b)) for a, b in split]
        super().__init__(prompt, spans, baseline, empty=empty)

    def _string(self, present: NDArray[np.bool_]) -> str:
        pieces, at = [], 0
        for (start, end), keep in zip(self.spans, present):
            pieces += [self.text[at:start], self.text[start:end] if keep else self.baseline or ""]
            at = end
        string = "".join([*pieces, self.text[at:]])
        return string if string.strip() else self.empty


def unmarked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """A prompt without its ``[[ ]]``, and where the segments were.

    Raises
    ------
    InvalidInput : marks that do not match, or none.
    """
    spans: list[tuple[int, int]] = []
    plain, at, open_at = "", 0, -1
    for mark in re.finditer(r"\[\[|\]\]", text):
        plain, at = plain + text[at : mark.start()], mark.end()
        if (mark.group() == _OPEN) != (open_at < 0):
            raise InvalidInput(f"PromptSegments: {mark.group()} at {mark.start()} has no partner; do not nest them.")
        if mark.group() == _OPEN:
            open_at = len(plain)
        else:
            spans.append((open_at, len(plain)))
            open_at = -1
    if open_at >= 0 or not spans:
        raise InvalidInput("PromptSegments: mark each segment, as in 'Rules. [[first passage]] [[second]] Question?'.")
    return plain + text[at:], spans
