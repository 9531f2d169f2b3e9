"""OpenAI-compatible servers: the score of a fixed answer, of label words, or the agreement of sampled
answers.

Source: value functions of ContextCite (arXiv:2409.00729) and others; alignment by character offsets, not by
counting the answer's tokens, which breaks where the tokeniser merges across the join.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ...errors import InvalidInput
from .wire import Batch, Parsed, Reply, Request, Unusable, _Json

_MARGIN = 64  # tokens a server may add around a prompt (roles, start marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenAI(_Json):
    """Shared: model, usage, the bound on tokens."""

    rows_a_request: ClassVar[int | None] = 1
    model: str
    seed: int | None = None

    def about(self) -> tuple[str, ...]:
        return ("/models",)

    def _body(self, **fields: Any) -> dict[str, Any]:
        return {"model": self.model, **fields, **({} if self.seed is None else {"seed": self.seed})}

    def _out(self) -> int:
        return 1

    def tokens(self, rows: Batch) -> tuple[int, int]:
        (row,) = rows
        return len(str(row).encode()) + _MARGIN, self._out()

    def _read(self, reply: Reply) -> tuple[list[Any], int, int]:
        body = reply.json()
        choices = body.get("choices") if isinstance(body, dict) else None
        if not isinstance(choices, list) or not choices or not all(isinstance(c, dict) for c in choices):
            raise Unusable("a reply without choices")
        usage = body.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        spent = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        tokens = [t if isinstance(t, int) and t >= 0 else 0 for t in spent]
        return choices, tokens[0], tokens[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion(_OpenAI):
    """Log-probability of a fixed answer after the prompt, from a server that scores prompts (``echo``).

    Parameters
    ----------
    answer : the text to score. The prompt must end where a token ends; `join` (e.g. a newline) goes between.
    value : ``"logprob"`` (sum over the answer's tokens), ``"mean"`` (a token), ``"logit"`` (of the whole
        answer, ``L - log(1 - exp(L))``, which linear surrogates fit best).
    max_tokens : 0, or 1 for servers that refuse 0.
    """

    name: ClassVar[str] = "openai-completions"
    answer: str
    join: str = ""
    value: Literal["logprob", "mean", "logit"] = "logprob"
    max_tokens: int = 1

    def __post_init__(self) -> None:
        if not self.answer:
            raise InvalidInput("Completion: answer must be the text whose log-probability is the score.")

    def tokens(self, rows: Batch) -> tuple[int, int]:
        (row,) = rows
        return len((str(row) + self.join + self.answer).encode()) + _MARGIN, self.max_tokens

    def request(self, rows: Batch) -> Request:
        (row,) = rows
        text = str(row) + self.join
        body = self._body(prompt=text + self.answer, max_tokens=self.max_tokens, echo=True, logprobs=1, temperature=0)
        return self._post("/completions", body)

    def parse(self, reply: Reply, n: int) -> Parsed:
        choices, used, made = self._read(reply)
        logprobs = choices[0].get("logprobs")
        if not isinstance(logprobs, dict):
            raise Unusable("no logprobs: this server does not score prompts (echo); use labels or samples")
        tokens, scores, offsets = (logprobs.get(k) for k in ("tokens", "token_logprobs", "text_offset"))
        if not (isinstance(tokens, list) and isinstance(scores, list) and isinstance(offsets, list)):
            raise Unusable("logprobs without tokens, token_logprobs and text_offset")
        total, count = self._span(tokens, scores, offsets, choices[0].get("text"))
        if self.value == "mean":
            total /= count
        elif self.value == "logit":
            total -= math.log(-math.expm1(min(total, -1e-7)))
        return Parsed(np.array([[total]]), used, made)

    def _span(self, tokens: list[Any], scores: list[Any], offsets: list[Any], text: Any) -> tuple[float, int]:
        """Sum over the tokens of the answer, found by where they begin in the echoed text."""
        if not isinstance(text, str):
            raise Unusable("no echoed text")
        begin = text.rfind(self.answer)
        # the echo ends with the answer, but for the max_tokens generated after it
        if begin < 0:
            raise Unusable("the echoed text does not hold the answer; the server does not echo")
        end = begin + len(self.answer)
        shift = offsets[0] if offsets else 0
        inside = [i for i, at in enumerate(offsets) if begin <= at - shift < end]
        if not inside or offsets[inside[0]] - shift != begin:
            raise Unusable("a token straddles the end of the prompt and the answer; set join to a newline or a space")
        picked = [scores[i] for i in inside]
        if not all(isinstance(s, (int, float)) for s in picked):
            raise Unusable("a token of the answer without a log-probability")
        return float(sum(picked)), len(picked)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLabels(_OpenAI):
    """Probabilities of label words as the first word of a chat answer, from ``top_logprobs``.

    Parameters
    ----------
    labels : the words, e.g. ``("yes", "no")``; no two may begin alike.
    system : a message before the prompt, or None.
    top_logprobs : 1..20.

    A label that is not among the top gets the smallest log-probability listed (an upper bound, so differences
    are understated); the scores are a softmax over the labels.
    """

    name: ClassVar[str] = "openai"
    labels: tuple[str, ...]
    system: str | None = None
    top_logprobs: int = 20

    def __post_init__(self) -> None:
        words = [w.strip().casefold() for w in self.labels]
        if len(words) < 2 or len(set(words)) < len(words) or not all(words):
            raise InvalidInput("ChatLabels: give two or more different labels, e.g. ('yes', 'no').")

    def request(self, rows: Batch) -> Request:
        (row,) = rows
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        messages.append({"role": "user", "content": str(row)})
        body = self._body(messages=messages, max_tokens=1, temperature=0, logprobs=True, top_logprobs=self.top_logprobs)
        return self._post("/chat/completions", body)

    def parse(self, reply: Reply, n: int) -> Parsed:
        choices, used, made = self._read(reply)
        try:
            top = choices[0]["logprobs"]["content"][0]["top_logprobs"]
            listed = [(str(t["token"]), float(t["logprob"])) for t in top]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Unusable("no top_logprobs: use sampled answers (Sampled) with this model") from None
        if not listed:
            raise Unusable("an empty list of top_logprobs")
        floor = min(value for _, value in listed)
        sums = []
        for label in self.labels:
            own = [value for token, value in listed if self._is(token, label)]
            sums.append(float(np.logaddexp.reduce(own)) if own else floor)
        scores = np.exp(np.array(sums) - max(sums))
        return Parsed((scores / scores.sum())[None], used, made)

    def _is(self, token: str, label: str) -> bool:
        """Whether a first token begins this label and no other."""
        word = token.strip().casefold()
        fits = [w for w in self.labels if word and w.strip().casefold().startswith(word)]
        return fits == [label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled(_OpenAI):
    """Share of sampled chat answers that agree with a given one; for servers without log-probabilities.

    Parameters
    ----------
    answer : the text to agree with, after normalisation (case, blanks, final points, number forms).
    samples : answers a request; the score's standard error is sqrt(p (1 - p) / samples).
    max_tokens, temperature : of the answers.
    """

    name: ClassVar[str] = "openai-sampled"
    stochastic: ClassVar[bool] = True
    answer: str
    samples: int = 10
    max_tokens: int = 16
    temperature: float = 1.0
    system: str | None = None

    def _out(self) -> int:
        return self.samples * self.max_tokens

    def request(self, rows: Batch) -> Request:
        (row,) = rows
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        messages.append({"role": "user", "content": str(row)})
        body = self._body(messages=messages, n=self.samples, max_tokens=self.max_tokens, temperature=self.temperature)
        return self._post("/chat/completions", body)

    def parse(self, reply: Reply, n: int) -> Parsed:
        choices, used, made = self._read(reply)
        texts = [(c.get("message") or {}).get("content") for c in choices]
        if not all(isinstance(t, str) for t in texts):
            raise Unusable("a choice without content (a refusal, perhaps)")
        want = normal(self.answer)
        return Parsed(np.array([[np.mean([normal(str(t)) == want for t in texts])]]), used, made)


def normal(text: str) -> str:
    """Text for comparison: case, blanks, quotes and final points aside; numbers by value."""
    text = re.sub(r"\s+", " ", text).strip().strip("\"'`.!").strip().casefold()
    try:
        return repr(float(text.replace(",", "")))
    except ValueError:
        return text
