"""What answers the arms: environments that give the watch time of an exposure that was never logged."""

from watchline.experiment.environments.base import Answers, Environment
from watchline.experiment.environments.matrix import MatrixEnvironment
from watchline.experiment.environments.model import RewardModelEnvironment
from watchline.experiment.environments.oracle import Law, OracleEnvironment
from watchline.experiment.environments.replay import ReplayEnvironment

__all__ = [
    "Answers",
    "Environment",
    "Law",
    "MatrixEnvironment",
    "OracleEnvironment",
    "ReplayEnvironment",
    "RewardModelEnvironment",
]
