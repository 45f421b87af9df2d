"""Counts of splits and labels are bounded, and always add up to the number of rows."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_src.images import counts
from spark_src.images.counts import MAX_NAMES, OTHERS, update_counts
from spark_src.tables.statistics import RawImagesStatistics
from tests.pipeline import ingest, tables_in
from tests.spark_src.marked_features import jpeg


def test_few_names_are_counted_exactly_and_those_without_rows_are_omitted() -> None:
    found = update_counts({"a": 3, "b": 1}, {"b": 1}, [{"a": 2}, {"c": 1}])
    assert found == {"a": 5, "c": 1}


def test_with_one_folder_per_picture_the_names_are_limited() -> None:
    parts = [{f"{part}-{number}": 1 for number in range(1024)} for part in range(20)]
    found = update_counts({"kept": 7}, {}, parts)
    assert len(found) == MAX_NAMES
    assert found["kept"] == 7
    assert sum(found.values()) == 7 + 20 * 1024


def test_known_splits_are_always_named() -> None:
    others = {f"{number}": 9 for number in range(3000)}
    assert update_counts({}, {}, [others, {"Training": 1}])["Training"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_counts_always_add_up_to_the_rows(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(counts, "MAX_NAMES", 5)
    generator, rows, known = random.Random(seed), Counter[str](), dict[str, int]()  # noqa: S311
    for _ in range(50):
        new = Counter(generator.choices("abcdefghijkl", k=generator.randrange(9)))
        removed = Counter(
            {name: generator.randint(0, number) for name, number in rows.items() if number}
        )
        known = update_counts(known, removed, [new])
        rows = rows - removed + new
        assert sum(known.values()) == rows.total()
        assert len(known) <= 5
        assert min(known.values(), default=1) > 0


def test_a_commit_does_not_grow_with_the_number_of_folders(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MAX_NAMES", 3)
    for number in range(9):
        folder = tmp_path / "in" / f"album {number}"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(jpeg(number * 20))
    known = ingest(spark, tables_in(tmp_path / "storage"), tmp_path / "in").raw
    labels = known.typed(RawImagesStatistics).labels
    assert (len(labels), labels[OTHERS]) == (3, 7)
