"""Players: the parts of an image, a text or a table row, and what they become when absent."""

from .base import Players
from .baselines import Blur, ChannelMean, Constant
from .image import ImagePixels, ImageSegments
from .prompt import PromptSegments
from .table import Columns
from .text import Spans, Tokens, Words

__all__ = [
    "Blur",
    "ChannelMean",
    "Columns",
    "Constant",
    "ImagePixels",
    "ImageSegments",
    "Players",
    "PromptSegments",
    "Spans",
    "Tokens",
    "Words",
]
