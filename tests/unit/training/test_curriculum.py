"""Schedules of the curriculum: over global steps, monotone, from start to end."""

from __future__ import annotations

import pytest
import yaml

from watchline.config import ConfigError, parse
from watchline.training.curriculum import CurriculumConfig, teacher_share

SCHEDULES = ["linear", "exponential", "inverse_sigmoid"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (1.0, 0.3), (0.4, 1.0)])
def test_the_share_goes_from_start_to_end_without_turning(schedule, start, end):
    config = CurriculumConfig(kind="mixup", schedule=schedule, start=start, end=end)
    shares = [teacher_share(config, step, 101) for step in range(101)]
    assert shares[0] == pytest.approx(start) and shares[-1] == pytest.approx(end)
    assert shares == sorted(shares, reverse=start > end)


def test_the_three_schedules_have_the_shapes_of_their_names():
    middle = {
        name: teacher_share(CurriculumConfig(kind="sample", schedule=name, end=0.0, sharpness=8), 50, 101)
        for name in SCHEDULES
    }
    early = {
        name: teacher_share(CurriculumConfig(kind="sample", schedule=name, end=0.0, sharpness=8), 10, 101)
        for name in SCHEDULES
    }
    assert middle["linear"] == pytest.approx(0.5) == middle["inverse_sigmoid"]
    assert middle["exponential"] < 0.05
    assert early["exponential"] < early["linear"] < early["inverse_sigmoid"]


def test_the_share_depends_on_global_progress_alone():
    config = CurriculumConfig(kind="mixup", end=0.0)
    assert teacher_share(config, 30, 101) == pytest.approx(teacher_share(config, 300, 1001))


def test_steps_beyond_the_last_keep_the_end():
    config = CurriculumConfig(kind="mixup", end=0.2)
    assert teacher_share(config, 100, 100) == pytest.approx(0.2) == teacher_share(config, 10**6, 100)


def test_a_curriculum_that_is_off_teaches_always():
    assert teacher_share(CurriculumConfig(kind="off", start=0.1), 5, 10) == 1.0


@pytest.mark.parametrize("text", ["kind: off", 'kind: "off"'])
def test_off_may_be_written_bare_in_yaml(text):
    assert parse(CurriculumConfig, yaml.safe_load(text), "curriculum").kind == "off"


@pytest.mark.parametrize("values", [{"schedule": "sigmoid"}, {"end": 1.2}, {"kind": True}, {"sharpness": 0}])
def test_an_unknown_schedule_or_a_share_out_of_range_is_an_error(values):
    with pytest.raises(ConfigError, match="curriculum"):
        parse(CurriculumConfig, values, "curriculum")


def test_a_negative_step_is_an_error():
    with pytest.raises(ValueError, match="global steps"):
        teacher_share(CurriculumConfig(kind="mixup"), -1, 10)
