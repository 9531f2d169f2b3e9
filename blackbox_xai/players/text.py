"""Text: words or tokens as players, always spans of the original string."""

from __future__ import annotations

import itertools
import re
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..masks import Masks
from .base import Batch, Players, Rows, digest

_WORD = re.compile(r"\S+")


class Spans(Players):
    """Players that are spans of a string.

    Parameters
    ----------
    text : str.
    spans : list of (start, end) character offsets, in order, not overlapping.
    baseline : None or "remove" (absent spans are deleted and doubled spaces collapse), or a string such as
        ``"[MASK]"`` that takes an absent span's place.
    empty : str. What the model gets when nothing is left.

    Raises
    ------
    InvalidInput : the text is empty or has no span; spans overlap or leave the text.
    """

    kind: ClassVar[str] = "text"

    def __init__(
        self, text: str, spans: list[tuple[int, int]], baseline: str | None = None, *, empty: str = ""
    ) -> None:
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput("The text is empty: there is no player to attribute to.")
        edges = [0, *(edge for span in spans for edge in span), len(text)]
        if not spans or any(a > b for a, b in itertools.pairwise(edges)):
            raise InvalidInput(f"{type(self).__name__}: spans must be in order, inside the text, and at least one.")
        self.text, self.spans, self.empty = text, [(int(a), int(b)) for a, b in spans], empty
        self.baseline = None if baseline in (None, "remove") else str(baseline)
        self.n_players = len(self.spans)
        self.names = tuple(text[a:b] for a, b in self.spans)
        self._active = np.arange(self.n_players)
        self._identity = digest("Spans", self.baseline, empty)

    def realise(self, masks: Masks, rows: Rows, out: Batch | None = None) -> Batch:
        """See `Players.realise`: a list of strings; the full coalition is the text itself, untouched."""
        present = np.ones((len(rows), len(self.spans)), bool)
        present[:, self._active] = masks.dense()[rows]
        return [self._string(row) for row in present]

    def _string(self, present: NDArray[np.bool_]) -> str:
        if present.all():
            return self.text
        pieces: list[str] = []
        at, removed = 0, False
        for (start, end), keep in zip(self.spans, present):
            gap = self.text[at:start]
            if removed and pieces and self.baseline is None and (gap[:1].isspace()):
                last = pieces[-1][-1:]
                if not last or last.isspace():
                    gap = gap[1:]
            pieces.append(gap)
            if keep:
                pieces.append(self.text[start:end])
                removed = False
            elif self.baseline is not None:
                pieces.append(self.baseline)
            else:
                pieces = [p for p in pieces if p]
                removed = True
            at = end
        pieces.append(self.text[at:])
        string = "".join(pieces)
        if self.baseline is None:
            string = string.strip()
        return string or self.empty

    def keys(self, masks: Masks) -> list[bytes]:
        """Of the strings themselves: coalitions that read the same are one."""
        texts = self.realise(masks, np.arange(len(masks)))
        return [digest("text", text) for text in texts]

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unchanged: one value a span."""
        return values

    def dummies(self) -> NDArray[np.bool_]:
        """Spans that equal their replacement."""
        return np.array([self.text[a:b] == self.baseline for a, b in self.spans])[self._active]

    def restrict(self, active: NDArray[np.intp]) -> Players:
        """See `Players.restrict`."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._active, other.n_players = self._active[active], len(active)
        other.names = tuple(self.names[i] for i in active) if self.names else None
        return other

    def shown(self) -> dict[str, Any]:
        """The text and the spans in play."""
        return {"data": self.text, "spans": [list(self.spans[i]) for i in self._active]}

    def state(self) -> dict[str, Any]:
        """See `Players.state`."""
        return {"text": self.text, "spans": self.spans, "baseline": self.baseline, "empty": self.empty}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Players:
        """Words and tokens come back as the spans they were."""
        other = object.__new__(cls)
        Spans.__init__(
            other, state["text"], [(a, b) for a, b in state["spans"]], state["baseline"], empty=state["empty"]
        )
        return other

    def row_bytes(self) -> int:
        """Bytes of the text."""
        return len(self.text.encode())


class Words(Spans):
    """Each word is a player: characters between whitespace, punctuation with its word.

    Parameters
    ----------
    text : str. Not empty.
    baseline : None or "remove", or a replacement such as ``"[MASK]"``.
    empty : str. What the model gets when no word is left.
    """

    def __init__(self, text: str, baseline: str | None = None, *, empty: str = "") -> None:
        if not isinstance(text, str):
            raise InvalidInput(f"Words: expected a string, got {type(text).__name__}.")
        super().__init__(text, [m.span() for m in _WORD.finditer(text)], baseline, empty=empty)


class Tokens(Spans):
    """Each token of a tokenizer is a player; special tokens never are.

    Parameters
    ----------
    text : str.
    tokenizer : a fast transformers tokenizer (it must give character offsets).
    baseline : None means the tokenizer's mask token, or "remove" where it has none; or a replacement.
    """

    def __init__(self, text: str, tokenizer: Any, baseline: str | None = None, *, empty: str = "") -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InvalidInput("Tokens: the tokenizer gives no character offsets; use a fast one, or Words.")
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput("The text is empty: there is no player to attribute to.")
        offsets = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
        spans: list[tuple[int, int]] = []
        for start, end in offsets:
            start = max(start, spans[-1][1] if spans else 0)  # bytes of one character can be several tokens
            if end > start:
                spans.append((start, end))
        if baseline is None:
            baseline = tokenizer.mask_token or "remove"
        super().__init__(text, spans, baseline, empty=empty)
