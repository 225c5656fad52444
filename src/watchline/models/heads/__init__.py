"""What methods that are a head on the common encoder share; a method is one file beside this package."""

from watchline.models.heads.head import DistributionHead, Head, HeadConfig, Law, PointHead, Prepared, Rows
from watchline.models.heads.model import DistributionHeadModel, PointHeadModel

__all__ = [
    "DistributionHead",
    "DistributionHeadModel",
    "Head",
    "HeadConfig",
    "Law",
    "PointHead",
    "PointHeadModel",
    "Prepared",
    "Rows",
]
