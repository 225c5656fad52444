"""Parameters: unknown keys and broken rules are errors that name key, rule and value."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from watchline.config import Config, ConfigError, load_section, parse


class Inner(Config):
    width: int = Field(ge=1)


class Outer(Config):
    inner: Inner
    rate: float = Field(default=0.5, gt=0, le=1)


def test_an_unknown_key_is_named():
    with pytest.raises(ConfigError, match=r"params\.yaml: train\.inner\.widht: unknown parameter \(value 3\)"):
        parse(Outer, {"inner": {"width": 2, "widht": 3}}, "params.yaml: train")


def test_a_value_out_of_range_names_key_rule_and_value():
    with pytest.raises(ConfigError, match=r"here\.rate: .*less than or equal to 1.*got 2"):
        parse(Outer, {"inner": {"width": 2}, "rate": 2}, "here")


def test_every_broken_key_is_reported_at_once():
    with pytest.raises(ConfigError) as error:
        parse(Outer, {"inner": {"width": 0}, "rate": 0}, "here")
    assert len(str(error.value).splitlines()) == 2


class Square(Config):
    kind: Literal["square"]
    side: float = Field(gt=0)


class Circle(Config):
    kind: Literal["circle"]
    radius: float = Field(gt=0)


class Drawing(Config):
    shape: Annotated[Square | Circle, Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"kind": "square", "side": 0}, r"^here\.shape\.side: Input should be greater than 0, got 0"),
        ({"kind": "square", "side": 1, "radius": 1}, r"^here\.shape\.radius: unknown parameter"),
        ({"kind": "circle"}, r"^here\.shape\.radius: missing"),
        ({"kind": "triangle"}, r"^here\.shape\.kind: unknown value 'triangle'; there are 'square', 'circle'"),
    ],
)
def test_keys_of_one_of_several_kinds_are_named_as_they_are_written(shape, message):
    with pytest.raises(ConfigError, match=message):
        parse(Drawing, {"shape": shape}, "here")


def test_nan_is_no_parameter():
    with pytest.raises(ConfigError, match="rate"):
        parse(Outer, {"inner": {"width": 1}, "rate": float("nan")}, "here")


def test_a_config_cannot_be_changed():
    config = parse(Inner, {"width": 1}, "here")
    with pytest.raises(ValueError, match="frozen"):
        config.width = 2


def test_sections_are_read_by_dotted_name(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train: {gr: {width: 8}}\n")
    assert load_section(Inner, "train.gr", path).width == 8


def test_a_missing_section_or_file_says_what_to_do(tmp_path):
    path = tmp_path / "params.yaml"
    with pytest.raises(ConfigError, match="no such file"):
        load_section(Inner, "train", path)
    path.write_text("train: {}\n")
    with pytest.raises(ConfigError, match=r"'finetune' is missing.*make params"):
        load_section(Inner, "finetune", path)
