"""The forms of the UI: descriptions, choices of the real line, and what is refused."""

import argparse
from datetime import date

import pytest
import yaml

from pipelines.__main__ import add_settings, settings_from, settings_of
from pipelines.flow import ROOT, backfill, daily, run
from pipelines.leaderboard import leaderboard
from pipelines.promote import promote, rollback
from pipelines.search import search
from pipelines.search_config import read_search
from pipelines.settings import BackfillSettings, DailySettings, RunSettings, SearchSettings


@pytest.mark.parametrize("flow", [run, daily, backfill, leaderboard, search, promote, rollback])
def test_every_field_of_a_form_has_a_description(flow):
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(flow)
    fields = schema.definitions[f"{flow.name.capitalize()}Settings"]["properties"]
    assert fields and not [name for name, field in fields.items() if not field.get("description")]
    assert schema.properties["settings"]["description"] and schema.properties["root"]["description"]


def test_choices_are_the_stages_of_dvc_yaml_and_the_experiments_of_conf():
    fields = RunSettings.model_json_schema()["properties"]
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert fields["target"]["enum"] == ["all", *stages]
    presets = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
    assert fields["experiment"]["enum"] == ["none", *presets]
    assert fields["record"]["enum"] == ["experiment", "branch", "workspace"]


def test_choices_are_the_protocols_of_the_leaderboard_and_the_methods_with_a_space():
    fields = SearchSettings.model_json_schema()["properties"]
    protocols = yaml.safe_load((ROOT / "conf/leaderboard.yaml").read_text())["protocols"]
    assert fields["protocol"]["enum"] == ["auto", *protocols]
    assert fields["models"]["items"]["enum"] == read_search(ROOT).all_methods


@pytest.mark.parametrize(
    ("model", "first"),
    [
        (RunSettings, ["experiment", "overrides", "target"]),
        (DailySettings, ["experiment", "overrides", "gate"]),
        (BackfillSettings, ["experiment", "overrides", "gate", "first", "last", "days", "redo"]),
    ],
)
def test_a_form_asks_what_to_run_before_where_the_result_goes_and_for_limits_last(model, first):
    fields = model.model_json_schema()["properties"]
    by_position = sorted(fields, key=lambda name: fields[name]["position"])
    assert by_position == [*first, "record", "branch", "push", "stage_timeout_s", "timeouts_s", "wait_s"]
    assert not [name for name in fields if fields[name]["title"].endswith(" S")]  # a unit is no part of a title


def test_limits_are_by_stage_and_the_experiment_comes_before_the_overrides():
    settings = RunSettings(experiment="gr_paper", overrides=["a=1"], stage_timeout_s=10, timeouts_s={"train": 20})
    assert [settings.timeout_of(stage) for stage in ("ingest", "train@gr")] == [10, 20]
    assert settings.all_overrides == ["experiment=gr_paper", "a=1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "trian"}, "target"),
        ({"overides": []}, "overides"),
        ({"timeouts_s": {"train": 0}}, "timeouts_s.train"),
        ({"experiment": "grr"}, "experiment"),
    ],
)
def test_a_mistake_names_its_field(values, message):
    with pytest.raises(ValueError, match=message):
        RunSettings(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"first": date(2024, 3, 2), "last": date(2024, 3, 1)}, "first 2024-03-02 is after last 2024-03-01"),
        ({"record": "workspace"}, "keeps one day only"),
        ({"days": 0}, "days"),
    ],
)
def test_a_range_that_is_none_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        BackfillSettings(**values)


@pytest.mark.parametrize(
    ("command", "words", "given"),
    [
        ("run", "", {}),
        ("run", "a=1 b=2 --target evaluate --push", {"overrides": ["a=1", "b=2"], "target": "evaluate", "push": True}),
        ("backfill", "--first 2024-03-08 --no-gate", {"first": date(2024, 3, 8), "gate": False}),
        (
            "leaderboard",
            "-S a=1 b=2 -S c=3 --protocol generated",
            {"overrides": ["a=1", "b=2", "c=3"], "protocol": "generated"},
        ),
        ("search", "--models gr vr --keep", {"models": ["gr", "vr"], "keep": True}),
        ("promote", "", {}),
        ("promote", "gr --dry-run --no-push", {"candidate": "gr", "dry_run": True, "push": False}),
        ("rollback", "--note why", {"note": "why"}),
    ],
)
def test_the_command_line_and_the_form_give_the_same_settings(command, words, given):
    parser = argparse.ArgumentParser()
    add_settings(parser, command)
    assert settings_from(command, vars(parser.parse_args(words.split()))) == settings_of(command)(**given)
