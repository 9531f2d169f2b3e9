"""ONNX and OpenVINO models, run by OpenVINO: on many processors the fastest way to query a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, need
from .model_file import ModelFileOracle

PRECISIONS = ("f32", "bf16", "f16")


class OpenVinoOracle(ModelFileOracle):
    """A model with one input in ONNX or OpenVINO's own format, run by OpenVINO.

    Parameters
    ----------
    model : path of a .onnx file, or of an .xml file with its .bin beside it; or the bytes of a .onnx file.
    preprocess, layout, activation, output, batch_size, threads, output_names, identity : as in `OnnxOracle`.
    precision : "f32", "bf16" or "f16". What the layers compute in. Where the device lacks one OpenVINO takes another:
        the oracle's own `precision`, and its default identity, say which one runs. bf16 is about twice as fast where
        the processor has it (EfficientNet-Lite0, one core: 166 images a CPU second, f32 84, ONNX Runtime 96). It is
        another model, if a near one: over 500 masked photographs the probability of the photograph's class moved by
        .008 on average and .061 at most, that of any class by .087 at most; the top class stayed in 96 %.
    device : OpenVINO's name of a device, such as "CPU" or "GPU".

    Raises
    ------
    MissingExtra : openvino is not installed.
    InvalidInput : the file is missing or is no model, the model has several inputs, or there is no such device.
    """

    runtime = "openvino"
    _kind = "openvino"

    def __init__(
        self,
        model: str | Path | bytes,
        *,
        preprocess: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        layout: str = "NCHW",
        activation: str | Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        output: str | int = 0,
        precision: str = "f32",
        batch_size: int = 32,
        threads: int | None = None,
        device: str = "CPU",
        output_names: Iterable[str] | None = None,
        identity: str | None = None,
    ) -> None:
        need("openvino", "openvino", "OpenVinoOracle")
        if precision not in PRECISIONS:
            raise InvalidInput(f"OpenVinoOracle: precision {precision!r} is none of {', '.join(PRECISIONS)}.")
        self._asked, self._place = precision, device
        self._weights = b""
        if not isinstance(model, bytes) and Path(model).suffix == ".xml":
            beside = Path(model).with_suffix(".bin")
            if not beside.is_file():
                raise InvalidInput(f"OpenVinoOracle: there is no file {str(beside)!r} beside {str(model)!r}.")
            self._weights = beside.read_bytes()
        self._settle(model, preprocess, layout, activation, output, batch_size, threads, output_names, identity)

    def _start(self) -> Any:
        openvino = need("openvino", "openvino", "OpenVinoOracle")
        core = openvino.Core()
        if self._place not in core.available_devices:
            there = ", ".join(core.available_devices)
            raise InvalidInput(f"OpenVinoOracle: there is no device {self._place!r}; there are {there}.")
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self._asked}
        if self._place == "CPU":  # by default each process binds its threads to the same first cores
            options["ENABLE_CPU_PINNING"] = False
        if self._threads is not None:
            options["INFERENCE_NUM_THREADS"] = self._threads
        try:
            model = core.read_model(self._model, self._weights) if self._weights else core.read_model(self._model)
            compiled = core.compile_model(model, self._place, options)
        except Exception as error:
            raise InvalidInput(f"OpenVinoOracle: {self.name} cannot be loaded: {error}") from error
        self._one_input([_name(i, k) for k, i in enumerate(model.inputs)])
        self._taken = self._chosen([_name(o, k) for k, o in enumerate(model.outputs)])
        shape, kind = model.inputs[0].partial_shape, model.inputs[0].element_type.to_dtype()
        self._input, self._dtype, self._axes = _name(model.inputs[0], 0), np.dtype(kind), shape.rank.get_length()
        self._fixed = None if shape[0].is_dynamic else int(shape[0].get_length())
        self.precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        return compiled.create_infer_request()

    def _settings(self) -> tuple[Any, ...]:
        return (self.precision, self._place)

    def _infer(self, session: Any, x: NDArray[Any]) -> NDArray[Any]:
        return np.array(session.infer([x])[self._taken])


def _name(port: Any, place: int) -> str:
    """A port's name; those of OpenVINO's own files may have none."""
    names = sorted(port.names)
    return str(names[0]) if names else str(place)
