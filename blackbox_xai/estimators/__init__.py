"""The methods. `METHODS` lists them by name; a new one is one file here and one line in the dict."""

from __future__ import annotations

from .auto import Auto
from .base import Estimate, Estimator, Problem, Session
from .gefa import GEFA
from .hsic import HSIC
from .kernel_shap import KernelSHAP, LeverageSHAP
from .lime import LIME
from .occlusion import Occlusion
from .odd_gp import OddGP
from .permutation import Permutation
from .rise import RISE
from .smooth_gp import SmoothGP
from .sobol import Sobol
from .until import StdError, TopK

METHODS: dict[str, type[Estimator]] = {
    "auto": Auto,
    "gefa": GEFA,
    "hsic": HSIC,
    "kernelshap": KernelSHAP,
    "leverageshap": LeverageSHAP,
    "lime": LIME,
    "occlusion": Occlusion,
    "oddgp": OddGP,
    "permutation": Permutation,
    "rise": RISE,
    "smoothgp": SmoothGP,
    "sobol": Sobol,
}

__all__ = [
    "GEFA",
    "HSIC",
    "LIME",
    "METHODS",
    "RISE",
    "Auto",
    "Estimate",
    "Estimator",
    "KernelSHAP",
    "LeverageSHAP",
    "Occlusion",
    "OddGP",
    "Permutation",
    "Problem",
    "Session",
    "SmoothGP",
    "Sobol",
    "StdError",
    "TopK",
]
