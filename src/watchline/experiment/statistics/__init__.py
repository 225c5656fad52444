"""Statistics of an A/B test whose unit is the user. Every function takes one value per user, not per exposure.

U_t users in treatment, U_c in control; `treatment` and `control` are arrays (U_t,) and (U_c,) of the users' outcomes.
All intervals are two-sided at 1 - ALPHA. They assume that users are independent and that their assignment to an arm is
random (SUTVA: one user's arm does not change another user's outcome), and enough users per arm that means are about
normal; heavy tails ask for thousands. docs/ab_statistics.md has each with its measured error rates.

means.py            a mean, a ratio of sums (delta method), a quantile, each with its variance
compare.py          two of them: Welch's difference, Fieller's lift
cuped.py            means adjusted by what users did before
bootstrap.py        a lift by drawing users
sequential.py       mSPRT: intervals and p-values that hold at every look
multiple.py         several arms (Holm), several quantities (Benjamini-Hochberg)
guardrails.py       what the treatment must not harm
sample_ratio.py     whether the arms have the users they were meant to have
power.py            what a test will find, before it runs
false_positives.py  A/A runs
rank_correlation.py Spearman's and Kendall's, over many draws at once
"""

from __future__ import annotations

from watchline.experiment.statistics.bootstrap import estimate_by_bootstrap
from watchline.experiment.statistics.compare import (
    Comparison,
    Estimate,
    estimate_difference,
    estimate_lift,
    estimate_paired_lift,
)
from watchline.experiment.statistics.cuped import Cuped, estimate_cuped
from watchline.experiment.statistics.false_positives import FalsePositives, check_false_positives
from watchline.experiment.statistics.guardrails import (
    GUARDRAILS,
    Guardrail,
    UserOutcomes,
    check_guardrail,
    check_guardrails,
    tail_threshold,
)
from watchline.experiment.statistics.means import ALPHA, Mean, mean_of, quantile_of, ratio_of
from watchline.experiment.statistics.multiple import (
    ArmComparison,
    benjamini_hochberg,
    compare_arms_with_control,
    holm,
)
from watchline.experiment.statistics.power import (
    Outlook,
    minimum_detectable_effect,
    plan_test,
    power_of,
    required_users,
)
from watchline.experiment.statistics.rank_correlation import kendall, spearman
from watchline.experiment.statistics.sample_ratio import (
    SRM_ALARM,
    SampleRatio,
    check_sample_ratio,
    users_to_see_imbalance,
)
from watchline.experiment.statistics.sequential import (
    Trajectory,
    always_valid,
    mixing_deviation,
    trajectory_by_period,
    trajectory_of,
)

__all__ = [
    "ALPHA",
    "GUARDRAILS",
    "SRM_ALARM",
    "ArmComparison",
    "Comparison",
    "Cuped",
    "Estimate",
    "FalsePositives",
    "Guardrail",
    "Mean",
    "Outlook",
    "SampleRatio",
    "Trajectory",
    "UserOutcomes",
    "always_valid",
    "benjamini_hochberg",
    "check_false_positives",
    "check_guardrail",
    "check_guardrails",
    "check_sample_ratio",
    "compare_arms_with_control",
    "estimate_by_bootstrap",
    "estimate_cuped",
    "estimate_difference",
    "estimate_lift",
    "estimate_paired_lift",
    "holm",
    "kendall",
    "mean_of",
    "minimum_detectable_effect",
    "mixing_deviation",
    "plan_test",
    "power_of",
    "quantile_of",
    "ratio_of",
    "required_users",
    "spearman",
    "tail_threshold",
    "trajectory_by_period",
    "trajectory_of",
    "users_to_see_imbalance",
]
