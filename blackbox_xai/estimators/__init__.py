"""The methods. `METHODS` lists them by name; a new one is one file here and one line in the dict."""

from __future__ import annotations

from .base import Estimate, Estimator, Problem, Session
from .gefa import GEFA
from .kernel_shap import KernelSHAP, LeverageSHAP
from .permutation import Permutation
from .rise import RISE
from .smooth_gp import SmoothGP
from .sobol import Sobol

METHODS: dict[str, type[Estimator]] = {
    "gefa": GEFA,
    "kernelshap": KernelSHAP,
    "leverageshap": LeverageSHAP,
    "permutation": Permutation,
    "rise": RISE,
    "smoothgp": SmoothGP,
    "sobol": Sobol,
}

__all__ = [
    "GEFA",
    "METHODS",
    "RISE",
    "Estimate",
    "Estimator",
    "KernelSHAP",
    "LeverageSHAP",
    "Permutation",
    "Problem",
    "Session",
    "SmoothGP",
    "Sobol",
]
