"""Gradient references: exact where the module is linear, complete where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from blackbox_xai import InvalidInput, explain
from blackbox_xai.oracles import TorchOracle
from blackbox_xai.whitebox import GradCAM, IntegratedGradients, SmoothGrad

torch = pytest.importorskip("torch")
pytest.importorskip("captum")


def linear(d=5, k=3):
    module = torch.nn.Linear(d, k)
    with torch.no_grad():
        module.weight.copy_(torch.arange(d * k, dtype=torch.float32).reshape(k, d) / 7 - 1)
    return module


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Tanh(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(24, 4),
    )  # fmt: skip


def photo(h=9, w=7):
    return np.random.default_rng(1).integers(0, 256, (h, w, 3)).astype(np.uint8)


@pytest.mark.parametrize("make", [IntegratedGradients, SmoothGrad])
def test_exact_on_a_linear_module(make):
    module, x, base = linear(), np.array([1.0, -2, 3, 0.5, 0]), np.array([0.0, 1, 1, 1, 1])
    a = make(module, output_names=["a", "b", "c"], batch_size=7)(x, baseline=base, target="b")
    weight = module.weight.detach().double().numpy()[1]
    assert a.values == pytest.approx(weight * (x - base), abs=1e-5)
    assert a.residual == pytest.approx(0, abs=1e-5)
    assert a.output_names == ("b",)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_completeness_on_an_image_whatever_the_batch(batch_size):
    largest = 0

    def watch(x):
        nonlocal largest
        largest = max(largest, len(x))
        return (x - 0.5) / 0.25

    a = IntegratedGradients(network(), preprocess=watch, activation="softmax", batch_size=batch_size)(
        photo(), baseline="mean"
    )
    assert a.values.shape == (63,)
    assert a.spread().shape == (9, 7)
    assert a.residual == pytest.approx(0, abs=1e-5)
    assert abs(a.full_values - a.base_values) > 1e-3
    assert largest <= max(batch_size, 2)
    assert a.ledger["scored"] == 52


def test_the_target_is_the_one_that_queries_find():
    module, x = network(), photo()
    seen = explain(TorchOracle(module, activation="softmax"), x, budget=20, players="segments", baseline="mean")
    inside = IntegratedGradients(module, activation="softmax")(x, baseline="mean")
    assert inside.target == seen.target
    assert inside.full_values == pytest.approx(seen.full_values, abs=1e-6)
    assert inside.base_values == pytest.approx(seen.base_values, abs=1e-6)


def test_the_mode_is_given_back_and_no_gradient_stays():
    module = network().train()
    IntegratedGradients(module, steps=3)(photo())
    assert module.training
    assert all(p.grad is None for p in module.parameters())


def test_smoothgrad_repeats_and_leaves_the_global_generator_alone():
    module, x = network(), photo()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = SmoothGrad(module, samples=8, seed=2, batch_size=3)(x, baseline="black")
    assert torch.equal(before, torch.random.get_rng_state())
    assert SmoothGrad(module, samples=8, seed=2, batch_size=8)(x, baseline="black").values == pytest.approx(
        one.values, abs=1e-6
    )
    assert not np.allclose(SmoothGrad(module, samples=8, seed=3)(x, baseline="black").values, one.values)


def test_gradcam_is_bright_where_the_map_is():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 1, 1, bias=False), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    torch.nn.init.ones_(module[0].weight)
    x = np.zeros((8, 8, 3), np.uint8)
    x[:4, :4] = 255
    heat = GradCAM(module, module[0])(x).spread()
    assert heat[:4, :4].min() > 10 * abs(heat[4:, 4:]).max()
    with pytest.raises(InvalidInput, match="needs an image"):
        GradCAM(linear(), linear())(np.ones(5))


def test_what_cannot_be_used_is_refused():
    with pytest.raises(InvalidInput, match=r"module must be a torch\.nn\.Module"):
        IntegratedGradients(lambda x: x)
    with pytest.raises(InvalidInput, match="steps must be a whole number >= 1, got 0"):
        IntegratedGradients(linear(), steps=0)
    with pytest.raises(InvalidInput, match="output 9 does not exist"):
        IntegratedGradients(linear())(np.ones(5), target=9)
    with pytest.raises(InvalidInput, match="the baseline has shape"):
        IntegratedGradients(linear())(np.ones(5), baseline=np.ones(4))
    with pytest.raises(InvalidInput, match="finite numbers"):
        IntegratedGradients(linear())(np.array([1.0, np.nan]))


class TestText:
    @pytest.fixture(scope="class")
    @staticmethod
    def parts():
        transformers = pytest.importorskip("transformers")
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "good", "bad", "film", "##s", "a"]
        raw = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
        raw.pre_tokenizer = pre_tokenizers.Whitespace()
        raw.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
        )
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            num_labels=2,
        )  # fmt: skip
        return transformers.BertForSequenceClassification(config).eval(), tokenizer

    def test_words_and_completeness(self, parts):
        from blackbox_xai.whitebox import TextIntegratedGradients

        a = TextIntegratedGradients(*parts, steps=64)("a good  films")
        assert a.feature_names == ("a", "good", "films")
        assert a.layout["spans"] == [[0, 1], [2, 6], [8, 13]]
        assert a.residual == pytest.approx(0, abs=2e-4)
        with pytest.raises(InvalidInput, match="empty"):
            TextIntegratedGradients(*parts)("  ")

    def test_an_encoder_with_a_head(self, parts):
        from blackbox_xai.whitebox import TextIntegratedGradients

        model, tokenizer = parts
        a = TextIntegratedGradients(model.bert, tokenizer, head=lambda v: v[:, :3].sigmoid(), output_names="xyz")(
            "bad film", target="y"
        )
        assert a.output_names == ("y",)
        assert a.residual == pytest.approx(0, abs=2e-4)
