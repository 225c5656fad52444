"""Equal results are equal bytes, and there is no NaN."""

import json
from datetime import date

import numpy as np
import pytest

from watchline.report import write_json


def test_keys_are_sorted_floats_rounded_and_types_plain(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    values = {"b": np.float64(1 / 3), "a": np.int64(2), "c": [np.array([0.1 + 0.2]), True, None], "d": date(2024, 3, 1)}
    write_json(path, values)
    text = path.read_text()
    assert json.loads(text) == {"a": 2, "b": 0.3333333333, "c": [[0.3], True, None], "d": "2024-03-01"}
    assert text.index('"a"') < text.index('"b"') and text.endswith("}\n")


def test_the_order_of_keys_does_not_change_the_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1, "y": {"p": 1, "q": 2}})
    write_json(tmp_path / "b.json", {"y": {"q": 2, "p": 1}, "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_no_number_is_an_error_that_names_its_key(tmp_path, value):
    with pytest.raises(ValueError, match=r"models\.gr\[1\]"):
        write_json(tmp_path / "metrics.json", {"models": {"gr": [1.0, value]}})
    assert not (tmp_path / "metrics.json").exists()


def test_what_json_has_no_word_for_is_an_error_that_names_its_key(tmp_path):
    with pytest.raises(TypeError, match="out: PosixPath"):
        write_json(tmp_path / "metrics.json", {"out": tmp_path})
