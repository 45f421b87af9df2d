"""Facts about tables, measured with plain Python on the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src.io.locations import Location
from spark_src.tables.statistics import digests, table_facts, vector_facts

NAN, INF = math.nan, math.inf


FactsOf = Callable[..., dict[str, Any]]


@pytest.fixture
def facts_of(spark: SparkSession, tmp_path: Path) -> FactsOf:
    """The facts of vectors that are dealt out to so many files."""

    def of(lists: list[list[float] | None], parts: int = 1) -> dict[str, Any]:
        for number in range(parts):
            column = pa.array(lists[number::parts], pa.list_(pa.float32()))
            pq.write_table(pa.table({"pca": column}), tmp_path / f"part-{number}.parquet")
        return vector_facts(spark, Location.parse(str(tmp_path)), "pca")

    return of


def test_facts_of_plain_vectors(facts_of: FactsOf) -> None:
    assert facts_of([[1.0, -2.0], [0.5, 0.25]]) == {
        "shortest": 2,
        "longest": 2,
        "not_finite": 0,
        "nulls": 0,
        "smallest": -2.0,
        "largest": 1.0,
        "smallest_norm": 0.75,
        "largest_norm": 3.0,
    }


def test_vectors_of_different_lengths_show(facts_of: FactsOf) -> None:
    facts = facts_of([[1.0], [1.0, 1.0, 1.0], [1.0, 1.0]])
    assert (facts["shortest"], facts["longest"]) == (1, 3)


def test_rows_that_are_not_finite_are_counted_and_left_out_of_the_extremes(
    facts_of: FactsOf,
) -> None:
    facts = facts_of([[1.0, NAN], [INF, -INF], [3.0, -4.0]])
    assert facts["not_finite"] == 2
    assert (facts["smallest"], facts["largest"]) == (-4.0, 3.0)
    assert (facts["smallest_norm"], facts["largest_norm"]) == (7.0, 7.0)


def test_missing_vectors_are_counted(facts_of: FactsOf) -> None:
    facts = facts_of([[1.0, 2.0], None, [1.0, 2.0], None])
    assert facts["nulls"] == 2
    assert (facts["shortest"], facts["longest"]) == (2, 2)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_empty_vector_is_a_shortest_one_of_norm_zero(facts_of: FactsOf, place: int) -> None:
    lists: list[list[float] | None] = [[1.0, 2.0], [3.0, 4.0]]
    lists.insert(place, [])
    facts = facts_of(lists)
    assert (facts["shortest"], facts["longest"]) == (0, 2)
    assert (facts["smallest_norm"], facts["largest_norm"]) == (0.0, 7.0)


def test_equal_vectors_have_equal_norms(facts_of: FactsOf) -> None:
    facts = facts_of([[0.1, 0.2, 0.3]] * 7, parts=3)
    assert facts["smallest_norm"] == facts["largest_norm"] > 0


@pytest.mark.parametrize("parts", [1, 2, 40])
def test_facts_do_not_depend_on_how_rows_are_spread(facts_of: FactsOf, parts: int) -> None:
    lists: list[list[float] | None] = [[float(n), -1.0] for n in range(1, 8)]
    facts = facts_of([*lists, None, None, None], parts)
    assert (facts["shortest"], facts["longest"], facts["nulls"]) == (2, 2, 3)
    assert (facts["smallest_norm"], facts["largest_norm"]) == (2.0, 8.0)


def test_a_table_of_missing_vectors_only_can_be_described(facts_of: FactsOf) -> None:
    assert facts_of([None, None])["nulls"] == 2


def test_a_table_counts_its_rows_splits_and_labels(spark: SparkSession) -> None:
    rows = [("Training", "Apple"), ("Training", "Cherry"), ("Test", "Apple"), (None, "Apple")]
    assert table_facts(spark.createDataFrame(rows, "split string, label string")) == {
        "rows": 4,
        "splits": {"": 1, "Test": 1, "Training": 2},
        "labels": {"Apple": 3, "Cherry": 1},
    }


def test_a_ledger_counts_its_reasons(spark: SparkSession) -> None:
    rows = [("1", "broken"), ("2", "broken"), ("3", "animated")]
    facts = table_facts(spark.createDataFrame(rows, "path string, reason string"))
    assert facts == {"rows": 3, "reasons": {"animated": 1, "broken": 2}}


def test_an_empty_table_has_no_rows(spark: SparkSession) -> None:
    facts = table_facts(spark.createDataFrame([], "path string, reason string"))
    assert facts == {"rows": 0, "reasons": {}}


def test_different_digests_are_listed_sorted(spark: SparkSession) -> None:
    table = spark.createDataFrame([("b",), ("a",), ("b",)], "model string")
    assert digests(table) == ["a", "b"]
