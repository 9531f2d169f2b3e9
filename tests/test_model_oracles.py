"""Torch and transformers oracles against the bare model."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from blackbox_xai import InvalidInput, OracleError, explain
from blackbox_xai.oracles import TorchOracle, TransformersOracle, as_oracle
from blackbox_xai.players import Tokens, Words

torch = pytest.importorskip("torch")


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 5),
    )  # fmt: skip


PHOTOS = np.random.default_rng(0).integers(0, 255, (6, 16, 20, 3), dtype=np.uint8)


def test_torch_images_equal_the_bare_module() -> None:
    module = network().train()
    oracle = TorchOracle(module, activation="softmax", preprocess=lambda x: (x - 0.5) / 0.25, batch_size=4)
    x = (torch.from_numpy(PHOTOS).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = network()(x).softmax(-1).numpy()
    assert oracle._predict(PHOTOS) == pytest.approx(expected, abs=1e-6)
    assert module.training  # given back as it was
    half = TorchOracle(network(), activation="softmax", dtype="bfloat16")._predict(PHOTOS)
    assert half.dtype == np.float32
    assert half == pytest.approx(
        network()(torch.from_numpy(PHOTOS).permute(0, 3, 1, 2) / 255).softmax(-1).detach().numpy(), abs=0.02
    )


def test_torch_channels_last_changes_the_layout_and_not_the_scores() -> None:
    seen: list[bool] = []

    def look(x: Any) -> Any:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return x

    last, first = (TorchOracle(network(), preprocess=look, channels_last=c)._predict(PHOTOS) for c in (True, False))
    assert seen == [True, False]
    assert last == pytest.approx(first, abs=1e-6)


def test_torch_composes_the_next_batch_while_the_module_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    composed, waited = [threading.Event() for _ in range(5)], list[bool]()
    plain, number = TorchOracle.buffer, iter(range(99))

    def buffer(self: Any, *form: Any) -> Any:
        composed[next(number)].set()
        return plain(self, *form)

    def forward(module: Any, args: Any) -> None:
        if len(waited) == 1:  # after the endpoints, which go alone: the first batch, or the second if that is quicker
            waited.append(composed[1].wait(20) and composed[2].wait(20))
        else:
            waited.append(True)

    monkeypatch.setattr(TorchOracle, "buffer", buffer)
    module = network()
    module.register_forward_pre_hook(forward)
    explain(TorchOracle(module, batch_size=8), PHOTOS[0], budget=2 + 4 * 8, method="rise", target=0)
    assert waited == [True] * 5


def test_torch_explained_and_bounded_by_the_batch() -> None:
    sizes: list[int] = []
    module = network()
    module.register_forward_hook(lambda m, args, out: sizes.append(len(args[0])))
    a = explain(TorchOracle(module, batch_size=8), PHOTOS[0], budget=100, target=2, method="rise")
    assert max(sizes) <= 8
    assert sum(sizes) == a.ledger["scored"] <= 100
    assert a.values.shape == (320,)


def test_torch_bad_input() -> None:
    with pytest.raises(InvalidInput, match=r"must be a torch\.nn\.Module"):
        TorchOracle(lambda x: x)
    with pytest.raises(InvalidInput, match="softmax, sigmoid"):
        TorchOracle(network(), activation="softmx")
    with pytest.raises(InvalidInput, match="no torch dtype"):
        TorchOracle(network(), dtype="float17")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="sees no GPU"):
            TorchOracle(network(), device="cuda")
    with pytest.raises(OracleError, match="RuntimeError"):
        explain(TorchOracle(torch.nn.Linear(7, 2)), np.ones(5, np.float32), budget=50, baseline=np.zeros(5))


def test_torch_table_is_exact_for_a_linear_module() -> None:
    module = torch.nn.Linear(6, 1)
    x = np.arange(6, dtype=np.float32)
    a = explain(module, x, budget=64, baseline=np.zeros(6, np.float32))
    assert isinstance(as_oracle(module), TorchOracle)
    assert a.values == pytest.approx(x * module.weight[0].detach().numpy(), abs=1e-5)


@pytest.fixture(scope="module")
def tiny() -> Any:
    """A BERT classifier with random weights and a word tokenizer, made here."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "a", "not", "##ly", "real"]
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    raw = Tokenizer(WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]", cls_token="[CLS]",
        sep_token="[SEP]",
    )  # fmt: skip
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label={0: "NEG", 1: "POS"}, label2id={"NEG": 0, "POS": 1},
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config), tokenizer


def test_transformers_classifier(tiny: Any) -> None:
    model, tokenizer = tiny
    oracle = TransformersOracle(model, tokenizer, batch_size=3)
    assert oracle.output_names == ("NEG", "POS")
    texts = ["a good film", "bad", ""]
    model.eval()
    with torch.no_grad():
        one_by_one = [model(**tokenizer([t], return_tensors="pt")).logits.softmax(-1)[0].numpy() for t in texts]
    assert oracle._predict(texts) == pytest.approx(np.stack(one_by_one), abs=1e-6)  # padding changes nothing
    a = explain(oracle, "a not really good film", budget=32, target="POS")
    assert a.values.sum() == pytest.approx(a.full_values - a.base_values)
    assert a.feature_names == ("a", "not", "really", "good", "film")


def test_tokens_are_spans_of_the_string_and_specials_never_play(tiny: Any) -> None:
    _, tokenizer = tiny
    p = Tokens("a really  good film", tokenizer)
    assert p.names == ("a", "real", "ly", "good", "film")
    assert p.baseline == "[MASK]"
    text = "a really  good film"
    assert [text[a:b] for a, b in p.spans] == list(p.names)
    with pytest.raises(InvalidInput, match="empty"):
        Tokens(" ", tokenizer)


def test_similarity_counts_the_other_sentence(tiny: Any) -> None:
    model, tokenizer = tiny
    rows = []
    encoder = model.bert
    encoder.register_forward_hook(lambda m, args, kwargs, out: rows.append(len(out[0])), with_kwargs=True)
    oracle = TransformersOracle(encoder, tokenizer, similar_to="a good film")
    assert oracle.output_names == ("similarity",)
    a = explain(oracle, "a good film", budget=9)
    assert a.full_values == pytest.approx(1, abs=1e-6)
    assert sum(rows) == a.ledger["scored"] == 9
    with pytest.raises(InvalidInput, match="not both"):
        TransformersOracle(encoder, tokenizer, similar_to="a", head=lambda v: v)
    with pytest.raises(InvalidInput, match="pass the tokenizer"):
        TransformersOracle(encoder)


def test_a_pipeline_and_a_head(tiny: Any) -> None:
    transformers = pytest.importorskip("transformers")
    model, tokenizer = tiny
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    a = explain(pipe, "not good", budget=4)
    b = explain(TransformersOracle(model, tokenizer), "not good", players=Words("not good"), budget=4)
    assert np.array_equal(a.values, b.values)
    head = TransformersOracle(model.bert, tokenizer, head=lambda v: v[:, :2], output_names=["u", "v"])
    assert head._predict(["good", "bad film"]).shape == (2, 2)
