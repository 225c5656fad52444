"""Typed, frozen configuration: the base class of every config and the one reader of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError


class ConfigError(ValueError):
    """A parameter that does not exist, is missing, or breaks a rule; the message names key, rule and value."""


class Config(BaseModel):
    """Base of every configuration object: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


T = TypeVar("T")


def parse(kind: type[T] | Any, values: Any, where: str) -> T:
    """Validate plain `values` (dicts, lists, numbers) as `kind`, a Config or a union of Configs.

    `where` prefixes each key in the message, for example ``params.yaml: ingest``.
    Raises ConfigError with one line per broken key: the key, the rule, the value.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        lines = [_describe(where, problem, values) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def _describe(where: str, problem: Any, values: Any) -> str:
    value = problem["input"]
    if problem["type"] == "union_tag_invalid":
        context, path = problem["ctx"], [*_keys(problem["loc"], values), problem["ctx"]["discriminator"].strip("'")]
        return f"{where}.{'.'.join(path)}: unknown value '{context['tag']}'; there are {context['expected_tags']}"
    key = ".".join(_keys(problem["loc"], values))
    if problem["type"] == "extra_forbidden":
        return f"{where}.{key}: unknown parameter (value {value!r}); see conf/ for the ones there are"
    if problem["type"] in ("missing", "union_tag_not_found"):
        return f"{where}.{key}: missing; add it to conf/ and compose params.yaml anew (`make params`)"
    return f"{where}.{key}: {problem['msg']}, got {value!r}"


def _keys(location: tuple[int | str, ...], values: Any) -> list[str]:
    """The keys on the way to a problem, without the names that a union of configs puts between them."""
    kept = []
    for number, part in enumerate(location):
        inside: Any = values if isinstance(values, dict) else dict(enumerate(values if _is_list(values) else ()))
        if part in inside:
            values = inside[part]
        elif number < len(location) - 1:
            continue
        kept.append(str(part))
    return kept


def _is_list(values: Any) -> bool:
    return isinstance(values, (list, tuple))


def read_params(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """The whole of params.yaml as plain Python values.

    Raises ConfigError when the file is missing or is not a mapping.
    """
    from omegaconf import OmegaConf

    if not path.is_file():
        raise ConfigError(f"{path}: no such file; run stages from the project root through `dvc repro`")
    values = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of sections, got {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def load_section(kind: type[T] | Any, section: str, path: Path = Path("params.yaml")) -> T:
    """One section of params.yaml (dots descend: ``train.gr``), validated as `kind`. Only stages call this.

    Raises ConfigError when the section is missing or breaks a rule.
    """
    values: Any = read_params(path)
    for part in section.split("."):
        if not isinstance(values, dict) or part not in values:
            raise ConfigError(f"{path}: section {section!r} is missing; compose params.yaml anew (`make params`)")
        values = values[part]
    return parse(kind, values, f"{path}: {section}")
