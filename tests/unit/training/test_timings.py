"""A fit's timing is found by what the fit measured, and a whole one is not replaced by a part."""

import pytest

from watchline.training.distributed import ALONE
from watchline.training.timings import read_timing, timing_of, write_timing


@pytest.fixture
def metrics_path(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"mae_s": 1.5}')
    return path


def test_equal_metrics_find_the_timing_and_others_do_not(tmp_path, metrics_path):
    timing = timing_of(4.0, 1000, ALONE, 2, resumed=False)
    write_timing(tmp_path, "gr", metrics_path, timing)
    assert timing.rows_per_s == 250
    assert read_timing(tmp_path, "gr", metrics_path) == timing
    assert read_timing(tmp_path, "vr", metrics_path) is None
    metrics_path.write_text('{"mae_s": 1.6}')
    assert read_timing(tmp_path, "gr", metrics_path) is None


def test_seconds_of_a_part_do_not_replace_those_of_the_whole(tmp_path, metrics_path):
    part, whole = (timing_of(seconds, 10, ALONE, 1, resumed) for seconds, resumed in ((1.0, True), (9.0, False)))
    for timing, kept in ((part, part), (whole, whole), (part, whole)):
        write_timing(tmp_path, "gr", metrics_path, timing)
        assert read_timing(tmp_path, "gr", metrics_path) == kept


def test_a_file_of_something_else_is_named(tmp_path, metrics_path):
    write_timing(tmp_path, "gr", metrics_path, timing_of(1.0, 1, ALONE, 1, False))
    (path,) = (tmp_path / "timings").iterdir()
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"timings/gr-\w+\.json: not the timing of a fit"):
        read_timing(tmp_path, "gr", metrics_path)
