"""The ONNX oracle against the module it was exported from."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blackbox_xai import InvalidInput, explain
from blackbox_xai.oracles import OnnxOracle

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PHOTOS = np.random.default_rng(0).integers(0, 255, (6, 16, 20, 3), dtype=np.uint8)


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 5),
    )  # fmt: skip


def export(path: Path, rows: int | str = "rows") -> Path:
    """The network as an ONNX file, written by hand: no exporter is needed."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {k: v.detach().numpy() for k, v in network().state_dict().items()}
    nodes = [
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "4.weight", "4.bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 3, 16, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 5])],
        [numpy_helper.from_array(w, k) for k, w in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx.save(made, path)
    return path


def expected() -> Any:
    x = (torch.from_numpy(PHOTOS).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        return network()(x).softmax(-1).numpy()


def normalised(x: Any) -> Any:
    return (x - 0.5) / 0.25


def test_equals_the_module_and_survives_pickling(tmp_path: Path) -> None:
    oracle = OnnxOracle(export(tmp_path / "m.onnx"), preprocess=normalised, activation="softmax", threads=1)
    assert oracle._predict(PHOTOS) == pytest.approx(expected(), abs=1e-5)
    again = pickle.loads(pickle.dumps(oracle))
    assert np.array_equal(again._predict(PHOTOS), oracle._predict(PHOTOS))
    data = (tmp_path / "m.onnx").read_bytes()
    plain, other = OnnxOracle(data), OnnxOracle(data, activation="softmax")
    assert plain.identity
    assert plain.identity != other.identity
    assert oracle.identity is None  # a function has no identity of its own


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    oracle = OnnxOracle(export(tmp_path / "m.onnx", 4), preprocess=normalised, activation="softmax", batch_size=64)
    assert oracle.batch_size == 4
    assert oracle._predict(PHOTOS[:3]) == pytest.approx(expected()[:3], abs=1e-5)


def test_explained_within_the_budget(tmp_path: Path) -> None:
    oracle = OnnxOracle(export(tmp_path / "m.onnx"), activation="softmax", batch_size=8)
    a = explain(oracle, PHOTOS[0], budget=100, target=[0, 2])
    assert a.values.shape == (320, 2)
    assert a.ledger["scored"] <= 100
    x = torch.from_numpy(PHOTOS[:1]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        scores = network()(x).softmax(-1).numpy()[0, [0, 2]]
    assert a.full_values == pytest.approx(scores, abs=1e-5)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no file"):
        OnnxOracle(tmp_path / "none.onnx")
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        OnnxOracle(b"not a model")
    path = export(tmp_path / "m.onnx")
    with pytest.raises(InvalidInput, match="no output 'z'; they are y"):
        OnnxOracle(path, output="z")
    with pytest.raises(InvalidInput, match="softmax, sigmoid"):
        OnnxOracle(path, activation="relu")
    with pytest.raises(InvalidInput, match="NCHW, NHWC"):
        OnnxOracle(path, layout="CHW")
