"""The generated log beside aggregates of the real one (KuaiRand-Pure, ten days), which are written down."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from benchmarks.generator import Log, default_config
from benchmarks.log_summaries import deviations
from watchline.data.synthetic.source import read

EXCERPT = json.loads(Path(__file__).with_name("excerpt_summaries.json").read_text())
EXCERPT_SIZE = {"first_day": date(2022, 4, 25), "days": 10, "exposures": 171_671}


def ratios(seed: int) -> dict[str, float]:
    """Generated to real: at the default size, and at the excerpt's where a summary moves with the size."""
    default = default_config().model_copy(update={"seed": seed})
    logs = (Log.of(read(Path(), config)) for config in (default, default.model_copy(update=EXCERPT_SIZE)))
    pairs = zip(*(log.summaries() for log in logs), strict=True)
    chosen = [same_size if same_size.scales else by_default for by_default, same_size in pairs]
    values = {f"{one.group}: {one.name}": one.value for one in chosen}
    assert values.keys() == EXCERPT.keys()
    return {name: value / EXCERPT[name] for name, value in values.items()}


def test_each_summary_of_the_default_log_is_within_15_percent_of_the_real_one():
    beyond = {name: ratio for name, ratio in ratios(default_config().seed).items() if abs(ratio - 1.0) > 0.15}
    assert not beyond


def test_another_seed_is_as_near_but_for_the_chance_of_few_videos():
    percent_off = 100.0 * np.abs(np.array(list(ratios(0).values())) - 1.0)
    assert np.median(percent_off) < 7.0
    assert (percent_off > 15.0).mean() < 0.15
    assert percent_off.max() < 60.0


@pytest.mark.parametrize(("between", "within"), [(0.6, 1.4), (0.0, 1.0)])
def test_deviations_find_those_that_the_values_were_drawn_with(between, within):
    generator = np.random.default_rng(0)
    key_N = np.repeat(np.arange(3000), generator.integers(1, 25, 3000))
    value_N = generator.normal(0.0, between, 3000)[key_N] + generator.normal(0.0, within, len(key_N))
    found_between, found_within = deviations(key_N, value_N)
    assert found_between == pytest.approx(between, abs=0.06)
    assert found_within == pytest.approx(within, rel=0.02)
