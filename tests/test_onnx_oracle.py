"""The oracles of model files, ONNX Runtime and OpenVINO, against the module that was exported."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blackbox_xai import InvalidInput, explain
from blackbox_xai.oracles import OnnxOracle, OpenVinoOracle

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

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


@pytest.mark.parametrize("kind", [OnnxOracle, OpenVinoOracle])
def test_equals_the_module_and_survives_pickling(tmp_path: Path, kind: Any) -> None:
    oracle = kind(export(tmp_path / "m.onnx"), preprocess=normalised, activation="softmax", threads=1)
    assert oracle._predict(PHOTOS) == pytest.approx(expected(), abs=1e-5)
    again = pickle.loads(pickle.dumps(oracle))
    assert np.array_equal(again._predict(PHOTOS), oracle._predict(PHOTOS))
    data = (tmp_path / "m.onnx").read_bytes()
    plain, other = kind(data), kind(data, activation="softmax")
    assert plain.identity
    assert plain.identity != other.identity
    assert oracle.identity is None  # a function has no identity of its own


@pytest.mark.parametrize("kind", [OnnxOracle, OpenVinoOracle])
def test_a_fixed_batch_is_filled_up(tmp_path: Path, kind: Any) -> None:
    oracle = kind(export(tmp_path / "m.onnx", 4), preprocess=normalised, activation="softmax", batch_size=64)
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


@pytest.mark.parametrize("kind", [OnnxOracle, OpenVinoOracle])
def test_bad_input(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{kind.__name__}: there is no file"):
        kind(tmp_path / "none.onnx")
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        kind(b"not a model")
    path = export(tmp_path / "m.onnx")
    with pytest.raises(InvalidInput, match="no output 'z'; they are y"):
        kind(path, output="z")
    with pytest.raises(InvalidInput, match="output 3 of 1"):
        kind(path, output=3)
    with pytest.raises(InvalidInput, match="softmax, sigmoid"):
        kind(path, activation="relu")
    with pytest.raises(InvalidInput, match="NCHW, NHWC"):
        kind(path, layout="CHW")


def test_openvino_precisions_agree_and_have_names_of_their_own(tmp_path: Path) -> None:
    path = export(tmp_path / "m.onnx")
    full = OpenVinoOracle(path, activation="softmax", threads=1)
    near = OpenVinoOracle(path, activation="softmax", threads=1, precision="bf16")
    exact = OnnxOracle(path, activation="softmax", threads=1)._predict(PHOTOS)
    assert full.precision == "f32"
    assert full._predict(PHOTOS) == pytest.approx(exact, abs=1e-5)
    assert near._predict(PHOTOS) == pytest.approx(exact, abs=0.02)
    if near.precision == "bf16":  # a processor without it computes in f32, and the oracle says so
        assert near.identity != full.identity
        assert not np.array_equal(near._predict(PHOTOS), full._predict(PHOTOS))
    whole, part = near._predict(PHOTOS), near._predict(PHOTOS[2:4])
    assert np.array_equal(whole[2:4], part)  # a row's score does not depend on the batch


def test_openvino_reads_its_own_files_and_says_what_is_wrong(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = export(tmp_path / "m.onnx")
    own = tmp_path / "own.xml"
    openvino.save_model(openvino.Core().read_model(path), own, compress_to_fp16=False)
    assert OpenVinoOracle(own)._predict(PHOTOS) == pytest.approx(OpenVinoOracle(path)._predict(PHOTOS), abs=1e-6)
    own.with_suffix(".bin").unlink()
    with pytest.raises(InvalidInput, match=r"own\.bin"):
        OpenVinoOracle(own)
    with pytest.raises(InvalidInput, match="f32, bf16, f16"):
        OpenVinoOracle(path, precision="fp16")
    with pytest.raises(InvalidInput, match=r"no device .TPU.; there are .*CPU"):
        OpenVinoOracle(path, device="TPU")


@pytest.mark.parametrize("kind", [OnnxOracle, OpenVinoOracle])
def test_several_inputs_are_refused(tmp_path: Path, kind: Any) -> None:
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 3]) for n in ("a", "b", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "sum", ports[:2], ports[2:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(InvalidInput, match=r"2 inputs \(a, b\); it must have one"):
        kind(made.SerializeToString())


@pytest.mark.parametrize("kind", [OnnxOracle, OpenVinoOracle])
def test_a_model_of_bytes_refuses_fractions(kind: Any) -> None:
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.UINT8, ["rows", 4, 4, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 48])
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "bytes", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    oracle = kind(made.SerializeToString(), layout="NHWC")
    photo = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    assert np.array_equal(oracle._predict(photo), photo.reshape(2, 48).astype(np.float32))
    with pytest.raises(InvalidInput, match="takes uint8"):
        oracle._predict(photo / np.float32(255))
