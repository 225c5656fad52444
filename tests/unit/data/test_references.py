"""Reference windows of the days: which days, and how far a day is from them."""

from datetime import date, timedelta

import numpy as np

from watchline.data.references import distance, reference_of

DAYS = [date(2024, 3, 1) + timedelta(days=i) for i in range(10)]


def test_the_reference_is_the_days_before():
    assert reference_of(DAYS[5], DAYS, 3) == DAYS[2:5]


def test_where_too_few_days_precede_the_next_ones_fill_up():
    assert reference_of(DAYS[1], DAYS, 3) == [DAYS[0], DAYS[2], DAYS[3]]
    assert reference_of(DAYS[0], DAYS[:1], 3) == []


def test_a_day_that_is_missing_has_a_reference_too():
    assert reference_of(DAYS[5], [*DAYS[:5], *DAYS[6:]], 2) == DAYS[3:5]


def test_the_distance_is_that_of_kolmogorov_and_smirnov():
    assert distance(np.array([1, 1, 2]), np.array([10, 10, 20])) == 0
    assert distance(np.array([1, 0]), np.array([0, 7])) == 1
    assert distance(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 2])) == 0.75
    assert distance(np.array([0, 0]), np.array([1, 1])) is None
