"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, need
from .base import Batch, Floats, Oracle

_KINDS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class OnnxOracle(Oracle):
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
        if isinstance(activation, str) and activation not in ("softmax", "sigmoid"):
            raise InvalidInput(f"OnnxOracle: activation {activation!r} is none of softmax, sigmoid.")
        if layout not in ("NCHW", "NHWC"):
            raise InvalidInput(f"OnnxOracle: layout {layout!r} is none of NCHW, NHWC.")
        if isinstance(model, bytes):
            self.name, self._model = "onnx model", model
        else:
            path = Path(model)
            if not path.is_file():
                raise InvalidInput(f"OnnxOracle: there is no file {str(path)!r}.")
            self.name, self._model = path.name, path.read_bytes()
        self._configure(batch_size=batch_size, output_names=output_names, identity=identity)
        self._preprocess, self._activation, self._layout = preprocess, activation, layout
        self._output, self._threads, self._providers = output, threads, None if providers is None else list(providers)
        self.in_flight = 2  # compose the next batch while the model runs
        self._session: Any = None
        self._open()
        if identity is None and preprocess is None and not callable(activation):
            digest = hashlib.blake2b(self._model, digest_size=16)
            digest.update(repr((layout, activation, output)).encode())
            self.identity = f"onnx:{digest.hexdigest()}"

    def _open(self) -> Any:
        """The runtime's session; opened again after unpickling."""
        if self._session is not None:
            return self._session
        runtime = need("onnxruntime", "onnx", "OnnxOracle")
        options = runtime.SessionOptions()
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            self._session = runtime.InferenceSession(
                self._model, options, providers=self._providers or ["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InvalidInput(f"OnnxOracle: {self.name} cannot be loaded: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise InvalidInput(
                f"OnnxOracle: {self.name} has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); it must have "
                "one. Wrap it in a function and use CallableOracle."
            )
        names = [o.name for o in outputs]
        if isinstance(self._output, int):
            if not 0 <= self._output < len(names):
                raise InvalidInput(f"OnnxOracle: output {self._output} of {len(names)}; they are {', '.join(names)}.")
            self._taken = names[self._output]
        elif self._output in names:
            self._taken = self._output
        else:
            raise InvalidInput(f"OnnxOracle: no output {self._output!r}; they are {', '.join(names)}.")
        kind = inputs[0].type
        if kind not in _KINDS:
            raise InvalidInput(f"OnnxOracle: {self.name} takes {kind}; tensors of numbers are supported.")
        self._input, self._dtype, self._axes = inputs[0].name, np.dtype(_KINDS[kind]), len(inputs[0].shape)
        fixed = inputs[0].shape[0] if inputs[0].shape else None
        self._fixed = fixed if isinstance(fixed, int) else None
        if self._fixed is not None:
            self.batch_size = self._fixed
        return self._session

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def _predict(self, batch: Batch) -> Floats:
        session = self._open()
        x = self._prepare(np.asarray(batch))
        rows = len(x)
        if self._fixed is not None and rows < self._fixed:
            x = np.concatenate([x, np.repeat(x[-1:], self._fixed - rows, axis=0)])
        scores = np.asarray(session.run([self._taken], {self._input: x})[0])[:rows]
        if self._activation is None:
            return scores
        return (
            np.asarray(self._activation(scores)) if callable(self._activation) else _activate(scores, self._activation)
        )

    def _prepare(self, x: NDArray[Any]) -> NDArray[Any]:
        """Images to the model's layout, numbers to its type."""
        picture = x.ndim == 4 and self._axes == 4 and x.shape[-1] in (1, 3)
        if picture and self._dtype != np.uint8:
            x = x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x.astype(np.float32, copy=False)
        if picture:
            x = x.transpose(0, 3, 1, 2)
        if self._preprocess is not None:
            x = self._preprocess(x)
        if picture and self._layout == "NHWC":
            x = x.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x, self._dtype)


def _activate(scores: NDArray[Any], activation: str) -> Floats:
    """Softmax over the last axis, or a sigmoid, in float64."""
    x = scores.astype(np.float64)
    if activation == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0, -x)))
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
