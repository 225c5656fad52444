"""A run's name changes with everything its result depends on."""

from __future__ import annotations

from watchline.training.fingerprint import fingerprint


def test_the_name_depends_on_params_and_file_contents_alone(tmp_path):
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table").write_text(text)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/table").write_text("1")
    names = {folder: fingerprint({"lr": 0.1}, [tmp_path / folder / "table"]) for folder in "abc"}
    assert names["a"] == names["c"] != names["b"]
    assert fingerprint({"lr": 0.2}, [tmp_path / "a/table"]) != names["a"]
