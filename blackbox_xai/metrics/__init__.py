"""How good an attribution is, asked of the model itself. Every metric says what it costs before it spends."""

from __future__ import annotations

from .agreement import Agreement, agreement
from .completeness import THRESHOLDS as COMPLETENESS_THRESHOLDS
from .completeness import Completeness, completeness
from .curves import Curve, Gap, deletion, deletion_gap, insertion
from .curves import cost as curve_cost
from .dataset import Dataset
from .evaluation import Evaluation
from .fidelity import fidelity, mu_fidelity, r_squared, sensitivity_n
from .hausdorff import hausdorff, least_distance, modified
from .imputation import noisy_linear
from .infidelity import Infidelity, infidelity
from .pool import Pool, pool
from .replacement import replaced
from .road import RATIOS as ROAD_RATIOS
from .road import Road, road
from .sensitivity import Sensitivity, max_sensitivity
from .shapley_error import ShapleyError, exact_shapley, shapley_error
from .soundness import RATIOS as SOUNDNESS_RATIOS
from .soundness import SoundnessCurve, SoundnessSample, soundness_dataset, soundness_sample
from .sparsity import Sparsity, sparsity
from .stability import Stability, stability
from .sufficiency import Sufficiency, sufficiency
from .summary import Summary, summary

__all__ = [
    "COMPLETENESS_THRESHOLDS",
    "ROAD_RATIOS",
    "SOUNDNESS_RATIOS",
    "Agreement",
    "Completeness",
    "Curve",
    "Dataset",
    "Evaluation",
    "Gap",
    "Infidelity",
    "Pool",
    "Road",
    "Sensitivity",
    "ShapleyError",
    "SoundnessCurve",
    "SoundnessSample",
    "Sparsity",
    "Stability",
    "Sufficiency",
    "Summary",
    "agreement",
    "completeness",
    "curve_cost",
    "deletion",
    "deletion_gap",
    "exact_shapley",
    "fidelity",
    "hausdorff",
    "infidelity",
    "insertion",
    "least_distance",
    "max_sensitivity",
    "modified",
    "mu_fidelity",
    "noisy_linear",
    "pool",
    "r_squared",
    "replaced",
    "road",
    "sensitivity_n",
    "shapley_error",
    "soundness_dataset",
    "soundness_sample",
    "sparsity",
    "stability",
    "sufficiency",
    "summary",
]
