"""What oracles of model files have in common: arguments, images in the model's layout, batches, activation."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .base import Batch, Floats, Oracle

Array = NDArray[Any]


class ModelFileOracle(Oracle):
    """A model in a file, run by a runtime that a subclass opens.

    A subclass calls `_settle` from its constructor and writes `_start` and `_infer`.
    """

    runtime: str  # in identities
    _kind = "model"  # in messages
    _input: str
    _dtype: np.dtype[Any]
    _axes: int
    _fixed: int | None = None

    def _settle(
        self,
        model: str | Path | bytes,
        preprocess: Callable[[Array], Array] | None,
        layout: str,
        activation: str | Callable[[Array], Array] | None,
        output: str | int,
        batch_size: int,
        threads: int | None,
        output_names: Iterable[str] | None,
        identity: str | None,
    ) -> None:
        """Check and keep the arguments, then open the model."""
        own = type(self).__name__
        if isinstance(activation, str) and activation not in ("softmax", "sigmoid"):
            raise InvalidInput(f"{own}: activation {activation!r} is none of softmax, sigmoid.")
        if layout not in ("NCHW", "NHWC"):
            raise InvalidInput(f"{own}: layout {layout!r} is none of NCHW, NHWC.")
        if isinstance(model, bytes):
            self.name, self._model = f"{self._kind} model", model
        else:
            path = Path(model)
            if not path.is_file():
                raise InvalidInput(f"{own}: there is no file {str(path)!r}.")
            self.name, self._model = path.name, path.read_bytes()
        self._configure(batch_size=batch_size, output_names=output_names, identity=identity)
        self._preprocess, self._activation, self._layout = preprocess, activation, layout
        self._output, self._threads = output, threads
        self.in_flight, self.own_threads = 2, True  # draw and compose the next batch while the model runs
        self._session: Any = None
        self._open()
        if identity is None and preprocess is None and not callable(activation):
            digest = hashlib.blake2b(self._model, digest_size=16)
            digest.update(repr((layout, activation, output, *self._settings())).encode())
            self.identity = f"{self.runtime}:{digest.hexdigest()}"

    @abstractmethod
    def _start(self) -> Any:
        """The runtime's session; sets `_input`, `_dtype`, `_axes` and `_fixed`, and raises InvalidInput."""

    @abstractmethod
    def _infer(self, session: Any, x: Array) -> Array:
        """The chosen output of a batch that has the model's layout and type."""

    def _settings(self) -> tuple[Any, ...]:
        """What else the scores depend on, for the identity."""
        return ()

    def _open(self) -> Any:
        """The session; opened again after unpickling."""
        if self._session is None:
            self._session = self._start()
            if self._fixed is not None:
                self.batch_size = self._fixed
        return self._session

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def _one_input(self, names: Sequence[str]) -> None:
        if len(names) != 1:
            raise InvalidInput(
                f"{type(self).__name__}: {self.name} has {len(names)} inputs ({', '.join(names)}); it must have "
                "one. Wrap it in a function and use CallableOracle."
            )

    def _chosen(self, names: Sequence[str]) -> int:
        """Place of the output that was asked for."""
        own = type(self).__name__
        if isinstance(self._output, int):
            if not 0 <= self._output < len(names):
                raise InvalidInput(f"{own}: output {self._output} of {len(names)}; they are {', '.join(names)}.")
            return self._output
        if self._output not in names:
            raise InvalidInput(f"{own}: no output {self._output!r}; they are {', '.join(names)}.")
        return list(names).index(self._output)

    def _predict(self, batch: Batch) -> Floats:
        session = self._open()
        x = self._prepare(np.asarray(batch))
        rows = len(x)
        if self._fixed is not None and rows < self._fixed:
            x = np.concatenate([x, np.repeat(x[-1:], self._fixed - rows, axis=0)])
        scores = np.asarray(self._infer(session, x))[:rows]
        if self._activation is None:
            return scores
        if callable(self._activation):
            return np.asarray(self._activation(scores))
        return _activate(scores, self._activation)

    def _prepare(self, x: Array) -> Array:
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
        if self._dtype.kind in "ui" and x.dtype.kind == "f":
            raise InvalidInput(f"{type(self).__name__}: {self.name} takes {self._dtype}, the input is {x.dtype}.")
        return np.ascontiguousarray(x, self._dtype)


def _activate(scores: Array, activation: str) -> Floats:
    """Softmax over the last axis, or a sigmoid, in float64."""
    x = scores.astype(np.float64)
    if activation == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0, -x)))
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
