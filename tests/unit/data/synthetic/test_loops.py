"""The curve from stay to watch time."""

import numpy as np
import pytest

from watchline.data.synthetic.loops import LoopCurve

CURVE = LoopCurve(near_end=0.9, end_from=1.2, end_power=0.1, loop_from=2.0, loop_power=0.45)
DURATION_S = np.array([30.0])


def test_a_stay_that_ends_before_the_last_part_is_the_watch_time():
    stays_s = np.array([0.0, 0.5, 12.0, 26.9, 27.0])
    np.testing.assert_allclose(CURVE.apply(stays_s, DURATION_S), stays_s)


def test_the_curve_rises_without_jumps_and_bends_at_the_end_and_where_loops_begin():
    stays_s = np.linspace(0.01, 3000.0, 400_001)
    watch_s = CURVE.apply(stays_s, DURATION_S)
    steps = np.diff(watch_s)
    assert (steps > 0).all()
    assert steps.max() <= 1.001 * np.diff(stays_s).max()
    assert CURVE.apply(np.array([36.0]), DURATION_S)[0] == pytest.approx(30.0)
    assert CURVE.apply(np.array([60.0]), DURATION_S)[0] == pytest.approx(30.0 * (2 / 1.2) ** 0.1)
    assert CURVE.apply(np.array([600.0]), DURATION_S)[0] == pytest.approx(30.0 * (2 / 1.2) ** 0.1 * 10**0.45)


def test_invert_undoes_apply_on_every_piece():
    stays_s = np.geomspace(1e-3, 1e4, 500)
    np.testing.assert_allclose(CURVE.invert(CURVE.apply(stays_s, DURATION_S), DURATION_S), stays_s, rtol=1e-9)


@pytest.mark.parametrize("log_s", [-1.0, 2.0, 3.4, 6.0])
@pytest.mark.parametrize("sigma", [0.3, 1.2])
def test_the_closed_mean_equals_numerical_integration(log_s, sigma):
    noise = np.linspace(-9.0, 9.0, 200_001)
    density = np.exp(-0.5 * noise**2) / np.sqrt(2.0 * np.pi)
    integrand = density * CURVE.apply(np.exp(log_s + sigma * noise), DURATION_S)
    assert CURVE.mean(np.array([log_s]), sigma, DURATION_S)[0] == pytest.approx(
        np.trapezoid(integrand, noise), rel=1e-6
    )


def test_powers_may_differ_from_row_to_row():
    powers, stays_s = np.array([0.05, 0.6]), np.array([45.0, 45.0])
    both = LoopCurve(near_end=0.9, end_from=1.2, end_power=powers, loop_from=2.0, loop_power=powers)
    each = [LoopCurve(near_end=0.9, end_from=1.2, end_power=p, loop_from=2.0, loop_power=p) for p in powers]
    for method in ("apply", "invert"):
        alone = [getattr(curve, method)(stays_s[:1], DURATION_S)[0] for curve in each]
        np.testing.assert_allclose(getattr(both, method)(stays_s, DURATION_S), alone)
    means = [curve.mean(np.array([3.4]), 1.0, DURATION_S)[0] for curve in each]
    np.testing.assert_allclose(both.mean(np.array([3.4, 3.4]), 1.0, DURATION_S), means)
