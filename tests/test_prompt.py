"""Prompts as players, and a language model behind an API as the oracle."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from blackbox_xai import InvalidInput, Masks, aexplain, explain, iter_explain
from blackbox_xai.players import PromptSegments

PROMPT = "Rules: be brief.\n\nParis is in France. Rome is in Italy! Is it?\nQuestion: where is Paris?\nAnswer:"


def strings(players: PromptSegments, *rows: list[int]) -> Any:
    masks = Masks.from_dense(np.array(rows, bool))
    return players.realise(masks, np.arange(len(rows)))


def test_sentences_within_a_part_leave_the_rest_untouched() -> None:
    begin, end = PROMPT.index("Paris"), PROMPT.index("Question")
    p = PromptSegments(PROMPT, "sentences", within=(begin, end))
    assert p.names == ("Paris is in France. ", "Rome is in Italy! ", "Is it?\n")
    all_of_it, one, none = strings(p, [1, 1, 1], [0, 1, 0], [0, 0, 0])
    assert all_of_it == PROMPT
    assert one == "Rules: be brief.\n\nRome is in Italy! Question: where is Paris?\nAnswer:"
    assert none == "Rules: be brief.\n\nQuestion: where is Paris?\nAnswer:"


@pytest.mark.parametrize("split", ["words", "sentences"])
def test_the_parts_are_the_whole(split: Any) -> None:
    for text in (PROMPT, "one", "No end mark here\n\n\nnext... e.g. 3.14 is pi?!  ", "a. b. c."):
        p = PromptSegments(text, split)
        assert "".join(p.names or ()) == text
        assert strings(p, [0] * p.n_players) == ["."]


def test_marked_segments_and_replacement() -> None:
    p = PromptSegments("Rules. [[first passage]] and [[second]] Answer:", "marked", baseline="[omitted]")
    assert (p.text, p.names) == ("Rules. first passage and second Answer:", ("first passage", "second"))
    assert strings(p, [0, 1]) == ["Rules. [omitted] and second Answer:"]
    for bad in ("[[a", "a]]", "[[a [[b]] ]]", "none"):
        with pytest.raises(InvalidInput, match="PromptSegments"):
            PromptSegments(bad, "marked")
    with pytest.raises(InvalidInput, match="order"):
        PromptSegments("abcdef", [(0, 3), (2, 5)])


WEIGHTS = {"Paris": 2.0, "Rome": -1.0, "brief": 0.5}


def model(prompts: list[str]) -> Any:
    """A log-probability that is linear in the segments it sees."""
    return np.array([-5 + sum(w for word, w in WEIGHTS.items() if word in p) for p in prompts])


def test_a_linear_log_probability_is_recovered() -> None:
    p = PromptSegments("Be brief. Paris is far. Rome is near. Say no more.", "sentences")
    a = explain(model, p.text, players=p, method="kernelshap", budget=18)
    np.testing.assert_allclose(a.values, [0.5, 2, -1, 0], atol=1e-9)


def test_iter_explain_ends_as_explain_does() -> None:
    p = PromptSegments("Be brief. Paris is far. Rome is near. Say no more. One. Two. Three. Four.", "sentences")
    *parts, last = iter_explain(
        model, p.text, players=p, method="kernelshap", budget=120, every=30, seed=3, batch_size=8
    )
    whole = explain(model, p.text, players=p, method="kernelshap", budget=120, seed=3)
    assert len(parts) >= 3
    assert {a.status for a in parts} == {"partial: running"}
    assert [a.ledger["scored"] for a in parts] == sorted(a.ledger["scored"] for a in parts)
    assert np.array_equal(last.values, whole.values)
    sent: list[int] = []

    def counted(prompts: list[str]) -> Any:
        sent.append(len(prompts))
        return model(prompts)

    for _ in iter_explain(counted, p.text, players=p, method="kernelshap", budget=200, every=20, batch_size=8):
        break
    assert sum(sent) < 60
    with pytest.raises(InvalidInput, match="every"):
        iter_explain(model, p.text, players=p, method="kernelshap", budget=20, every=0)


def test_aexplain_lets_the_loop_go_on() -> None:
    async def both() -> Any:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        task = asyncio.create_task(tick())
        a = await aexplain(model, "Paris or Rome brief", method="kernelshap", budget=12)
        task.cancel()
        return a, ticks

    a, ticks = asyncio.run(both())
    assert np.array_equal(a.values, explain(model, "Paris or Rome brief", method="kernelshap", budget=12).values)
    assert ticks > 0
