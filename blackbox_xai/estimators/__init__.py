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
from .oddshap import OddSHAP
from .owen import Owen
from .permutation import Permutation
from .regression_msr import RegressionMSR
from .rise import RISE
from .smooth_gp import SmoothGP
from .sobol import Sobol
from .svarm import SVARM
from .until import StableOrder, StdError, TopK

METHODS: dict[str, type[Estimator]] = {
    "auto": Auto,
    "gefa": GEFA,
    "hsic": HSIC,
    "kernelshap": KernelSHAP,
    "leverageshap": LeverageSHAP,
    "lime": LIME,
    "occlusion": Occlusion,
    "oddgp": OddGP,
    "oddshap": OddSHAP,
    "owen": Owen,
    "permutation": Permutation,
    "regressionmsr": RegressionMSR,
    "rise": RISE,
    "smoothgp": SmoothGP,
    "sobol": Sobol,
    "svarm": SVARM,
}

__all__ = [
    "GEFA",
    "HSIC",
    "LIME",
    "METHODS",
    "RISE",
    "SVARM",
    "Auto",
    "Estimate",
    "Estimator",
    "KernelSHAP",
    "LeverageSHAP",
    "Occlusion",
    "OddGP",
    "OddSHAP",
    "Owen",
    "Permutation",
    "Problem",
    "RegressionMSR",
    "Session",
    "SmoothGP",
    "Sobol",
    "StableOrder",
    "StdError",
    "TopK",
]
