"""Statistics are serialised without loss, and can be merged."""

from __future__ import annotations

import json

import pytest

from spark_src.contract import PREFIXES
from spark_src.tables.registry import STORED
from spark_src.tables.statistics import (
    ComponentsStatistics,
    CsvStatistics,
    PcaModelStatistics,
    VectorStatistics,
    joint_digest,
)

ONE = VectorStatistics(
    nulls=1,
    not_finite=2,
    shortest=3,
    longest=4,
    smallest=-1.0,
    largest=5.0,
    smallest_norm=1.0,
    largest_norm=9.0,
)
OTHER = VectorStatistics(
    nulls=10,
    not_finite=20,
    shortest=2,
    longest=3,
    smallest=-2.0,
    largest=4.0,
    smallest_norm=2.0,
    largest_norm=10.0,
)


def test_statistics_of_two_sets_of_vectors_are_those_of_both() -> None:
    both = VectorStatistics(
        nulls=11,
        not_finite=22,
        shortest=2,
        longest=4,
        smallest=-2.0,
        largest=5.0,
        smallest_norm=1.0,
        largest_norm=10.0,
    )
    assert ONE.merged(OTHER) == OTHER.merged(ONE) == both


def test_merging_with_empty_statistics_changes_nothing() -> None:
    assert ONE.merged(VectorStatistics()) == VectorStatistics().merged(ONE) == ONE


def test_zero_is_not_treated_as_missing() -> None:
    zeros = VectorStatistics(shortest=0, longest=0, smallest=0.0, largest=0.0)
    found = zeros.merged(ONE)
    assert (found.shortest, found.smallest, found.largest) == (0, -1.0, 5.0)


def test_every_asset_has_statistics_of_its_own_type() -> None:
    assert STORED.keys() == PREFIXES.keys()
    assert len({stored.statistics for stored in STORED.values()}) == len(STORED)


def test_statistics_survive_serialisation() -> None:
    made = ComponentsStatistics(
        digest="digest",
        rows=7,
        pca_model="pca",
        model_sha256="model",
        n_components=50,
        vectors=ONE,
        splits={"": 1, "Test": 6},
    )
    content = json.loads(json.dumps(made.model_dump(mode="json")))
    assert ComponentsStatistics.model_validate(content) == made


def test_unknown_fields_of_a_newer_release_are_ignored() -> None:
    found = CsvStatistics.model_validate({"digest": "d", "n_components": 5, "colour": "green"})
    assert found == CsvStatistics(digest="d", n_components=5)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="explained_variance_today"):
        PcaModelStatistics.model_validate({"digest": "d"})


def test_a_joint_digest_depends_on_every_digest_and_on_their_order() -> None:
    assert joint_digest("a", "b") == joint_digest("a", "b")
    others = [("b", "a"), ("a",), ("a", "b", "c"), ("ab",)]
    assert len({joint_digest(*digests) for digests in (("a", "b"), *others)}) == 5
