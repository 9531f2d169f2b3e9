"""Models behind an HTTP API."""

from .client import HTTPOracle
from .generic import Generic
from .huggingface import HuggingFace, HuggingFaceBatch
from .instances import Instances
from .mlflow import MLflow
from .openai import ChatLabels, Completion, Sampled
from .v2 import V2
from .wire import Wire

__all__ = [
    "V2",
    "ChatLabels",
    "Completion",
    "Generic",
    "HTTPOracle",
    "HuggingFace",
    "HuggingFaceBatch",
    "Instances",
    "MLflow",
    "Sampled",
    "Wire",
]
