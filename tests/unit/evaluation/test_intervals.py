"""Intervals by video duration."""

from __future__ import annotations

import numpy as np
import pytest

from watchline.evaluation.intervals import central_interval
from watchline.models.base import INTERVAL_ENDS


def test_rows_are_parted_by_bucket_in_order_and_the_unknown_is_a_bucket_of_its_own():
    label_s = np.array([0.0, 5.0, 10.0, 20.0, 3.0])
    ends = dict(zip(INTERVAL_ENDS, (np.full(5, 1.0), np.array([6.0, 6.0, 12.0, 12.0, 6.0]))))
    found = central_interval(label_s, ends, np.array([0, 0, 2, 2, -1]), ["short", "middle", "long"])
    assert (found["coverage"], found["below"], found["above"]) == pytest.approx((0.6, 0.2, 0.2))
    shown = [(part["bucket"], part["rows"], part["coverage"], part["width_s"]) for part in found["by_duration"]]
    assert shown == [("unknown", 1, 1.0, 5.0), ("short", 2, 0.5, 5.0), ("long", 2, 0.5, 11.0)]
