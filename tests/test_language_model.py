"""A real small language model over the OpenAI protocol: what made it say that?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from blackbox_xai import QueryBudget, explain
from blackbox_xai.oracles import HTTPOracle, Meter
from blackbox_xai.oracles.http import ChatLabels, Completion, Sampled
from blackbox_xai.players import PromptSegments

pytestmark = [pytest.mark.server, pytest.mark.slow]
FACTS = [
    "The library opens at nine. ",
    "Tom has a red bicycle. ",
    "The code of the safe is 7351. ",
    "Rain is expected tomorrow. ",
]
PROMPT = "".join(FACTS) + "Question: what is the code of the safe? Answer: the code is"
WITHIN = (0, len("".join(FACTS)))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.servers import real

    with real.smollm2(tmp_path_factory.mktemp("lm")) as running:
        yield running


def test_the_planted_passage_is_found(url: str) -> None:
    players = PromptSegments(PROMPT, "sentences", within=WITHIN)
    assert players.names == tuple(FACTS)
    with HTTPOracle(url, Completion(model="smollm2", answer=" 7351", value="logit"), max_concurrency=2) as oracle:
        a = explain(oracle, PROMPT, players=players, budget=18, method="kernelshap")
    assert a.status == "complete"
    assert int(np.argmax(a.values)) == 2
    assert a.values[2] > 3 * np.abs(np.delete(a.values, 2)).max()
    np.testing.assert_allclose(a.values.sum(), a.full_values - a.base_values, atol=1e-6)
    assert a.ledger["tokens"] > 16 * 20


def test_scores_of_an_answer_add_up_over_its_tokens(url: str) -> None:
    """log P(a b) = log P(a) + log P(b after a), measured by three requests."""

    def score(prompt: str, answer: str) -> float:
        with HTTPOracle(url, Completion(model="smollm2", answer=answer)) as oracle:
            (got,) = Meter(oracle, QueryBudget(1)).stream([([b"k"], lambda rows: [prompt])])
        return float(got[0, 0])

    whole = score("The capital of France is", " Paris, and")
    parts = score("The capital of France is", " Paris,") + score("The capital of France is Paris,", " and")
    assert whole == pytest.approx(parts, abs=1e-3)
    assert whole > score("The capital of France is", " Tokyo, and")


def test_label_words_and_sampled_answers(url: str) -> None:
    text = "I loved every minute of this film. Is this review positive or negative? Answer with one word."
    with HTTPOracle(url, ChatLabels(model="smollm2", labels=("Positive", "Negative"))) as oracle:
        (got,) = Meter(oracle, QueryBudget(1)).stream([([b"k"], lambda rows: [text])])
    assert got.sum() == pytest.approx(1)
    assert got[0, 0] > 0.5
    wire = Sampled(model="smollm2", answer="4", samples=5, max_tokens=6, temperature=0.7)
    with HTTPOracle(url, wire) as oracle:
        assert oracle.stochastic
        meter = Meter(oracle, QueryBudget(3))
        answers = [s.item() for s in meter.stream([([b"k"], lambda rows: ["What is 2+2?"]) for _ in range(3)])]
    assert meter.ledger.scored == 3  # repeats are repeats
    assert all(round(5 * a, 9) in (0, 1, 2, 3, 4, 5) for a in answers)
