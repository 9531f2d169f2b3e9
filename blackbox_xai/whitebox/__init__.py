"""References that look inside a torch module: what the queries are compared with. They need gradients, not queries."""

from __future__ import annotations

from .gradients import GradCAM, IntegratedGradients, SmoothGrad
from .text import TextIntegratedGradients

__all__ = ["GradCAM", "IntegratedGradients", "SmoothGrad", "TextIntegratedGradients"]
