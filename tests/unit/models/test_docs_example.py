"""The example of docs/methods.md is a method, as short as the page says; the page has a row for every method."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import head_checks
from tests.helpers.docs_example import module_of
from watchline.models import MODULES

PAGE = Path(__file__).resolve().parents[3] / "docs/methods.md"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    loaded = module_of(PAGE, "exponential_method", tmp_path_factory.mktemp("method"), fewer_lines_than=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "exponential_method", loaded)
        patch.setitem(MODULES, "exponential", "exponential_method")
        yield loaded


def test_the_example_holds_what_every_method_must(module, tmp_path):
    model = head_checks.fit(module, epochs=3)
    assert head_checks.relative_errors(model, ("mean",))["mean"] < 0.08
    _, valid, _ = head_checks.known_tables()
    found = model.predict(valid.head(50), ("mean", "median", "quantile:0.99"))
    assert found["median"] == pytest.approx(found["mean"] * np.log(2), rel=1e-3)
    assert found["quantile:0.99"] == pytest.approx(found["mean"] * np.log(100), rel=1e-3)
    head_checks.check_gradient(module)
    head_checks.check_files(module, tmp_path)


def test_the_page_has_a_row_for_every_method_there_is():
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(), flags=re.M)
    assert sorted(rows) == sorted(set(MODULES) - {"exponential"})
