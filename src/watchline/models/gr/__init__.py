"""Generative regression (arXiv 2412.20211): watch time as a sequence of tokens, decoded to any statistic."""

from watchline.models.gr.model import GRFitConfig, GRModel, fit
from watchline.models.gr.network import GRConfig, GRNetwork

CONFIG = GRFitConfig
MODEL = GRModel

__all__ = ["CONFIG", "MODEL", "GRConfig", "GRFitConfig", "GRModel", "GRNetwork", "fit"]
