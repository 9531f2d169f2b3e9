"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, need
from .model_file import ModelFileOracle

_KINDS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class OnnxOracle(ModelFileOracle):
    """An ONNX model with one input, run by ONNX Runtime.

    Parameters
    ----------
    model : path of a .onnx file, or its bytes.
    preprocess : array -> array. It gets images as float32 in 0..1, (rows, channels, H, W) (uint8 images
        (rows, H, W, channels) are scaled first), or as they are where the model's input is uint8 or has not four axes.
    layout : "NCHW" or "NHWC". How the model takes images.
    activation : "softmax", "sigmoid", a function, or None. Applied to the model's output.
    output : name or position of the output; the first by default.
    batch_size : int. Rows a call, at most. A model exported with a fixed batch gets batches of that size; short ones
        are filled up with rows whose scores are dropped and do not count.
    threads : int or None. Threads of the runtime; None leaves the choice to it.
    providers : execution providers, e.g. ``["CUDAExecutionProvider", "CPUExecutionProvider"]``.
    output_names : names of the k outputs.
    identity : str; default: the digest of the model's bytes and these settings, where preprocess and activation
        are no functions.

    Raises
    ------
    MissingExtra : onnxruntime is not installed.
    InvalidInput : the file is missing or is no model, or the model has several inputs.
    """

    runtime = "onnx"
    _kind = "onnx"

    def __init__(
        self,
        model: str | Path | bytes,
        *,
        preprocess: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        layout: str = "NCHW",
        activation: str | Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        output: str | int = 0,
        batch_size: int = 32,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        output_names: Iterable[str] | None = None,
        identity: str | None = None,
    ) -> None:
        need("onnxruntime", "onnx", "OnnxOracle")
        self._providers = None if providers is None else list(providers)
        self._settle(model, preprocess, layout, activation, output, batch_size, threads, output_names, identity)

    def _start(self) -> Any:
        runtime = need("onnxruntime", "onnx", "OnnxOracle")
        options = runtime.SessionOptions()
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            session = runtime.InferenceSession(
                self._model, options, providers=self._providers or ["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InvalidInput(f"OnnxOracle: {self.name} cannot be loaded: {error}") from error
        inputs, outputs = session.get_inputs(), [o.name for o in session.get_outputs()]
        self._one_input([i.name for i in inputs])
        self._taken = outputs[self._chosen(outputs)]
        kind = inputs[0].type
        if kind not in _KINDS:
            raise InvalidInput(f"OnnxOracle: {self.name} takes {kind}; tensors of numbers are supported.")
        self._input, self._dtype, self._axes = inputs[0].name, np.dtype(_KINDS[kind]), len(inputs[0].shape)
        fixed = inputs[0].shape[0] if inputs[0].shape else None
        self._fixed = fixed if isinstance(fixed, int) else None
        return session

    def _infer(self, session: Any, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(session.run([self._taken], {self._input: x})[0])
