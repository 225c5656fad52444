"""Feast's classes are not rewritten by typeguard, which is left as it is for everyone else."""

import feast
import pytest
import typeguard


def test_feasts_classes_are_as_they_are_written():
    for kind in (feast.FeatureView, feast.Field, feast.Entity, feast.FeatureService):
        assert not any(name.startswith("check_") for name in kind.__init__.__code__.co_names), kind


def test_what_is_not_feasts_is_checked():
    @typeguard.typechecked
    def twice(value: int) -> int:
        return 2 * value

    @typeguard.typechecked(collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
    def total(values: list[int]) -> int:
        return sum(values)

    assert twice(2) == 4 and total([1, 2]) == 3
    with pytest.raises(typeguard.TypeCheckError):
        twice("2")
    with pytest.raises(typeguard.TypeCheckError):
        total([1, "2"])
