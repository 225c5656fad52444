"""The page of a test: what a guardrail cannot tell is said with its reason."""

from __future__ import annotations

import numpy as np

from watchline.experiment import plain
from watchline.experiment import statistics as ab
from watchline.experiment.result_page import QUANTITIES, add_quantities
from watchline.report import Page, Verdict


def test_a_tied_quantile_is_shown_without_an_interval_and_with_its_reason():
    arms = [ab.UserOutcomes(*[np.full(60, value)] * 6) for value in (30.0, 31.0)]
    rails = ab.check_guardrails(*arms, {"watch_low_quantile": 0.01, "sessions_per_user": 0.5})
    compared = plain.comparison(ab.Comparison.of(ab.Mean(1.0, 0.1, 9.0), ab.Mean(1.0, 0.1, 9.0)))
    result = {
        "metrics": dict.fromkeys(QUANTITIES, compared),
        "q_values": dict.fromkeys([*QUANTITIES, "watch_low_quantile", "sessions_per_user"], 1.0),
        "guardrails": {rail.name: plain.guardrail(rail) for rail in rails},
    }
    told = result["guardrails"]["watch_low_quantile"]
    assert told["verdict"] == "cannot tell" and told["interval"] == {"low": None, "high": None}
    page = Page("abtest", "A/B test", "", Verdict("info", "x"))
    add_quantities(page, result)
    assert "Of the watch low quantile nothing can be told: so many users share the value" in page.render("..")
    assert "Of the sessions per user" not in page.render("..")
