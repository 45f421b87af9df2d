"""Files that would fail a blocking check are not committed; the error names the faults."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src.errors import AuditError, UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.audit import Audit, audit_files, require_valid, vector_statistics
from spark_src.tables.statistics import VectorStatistics

NAN, INF = math.nan, math.inf

Vector = list[float | None] | None
AuditOf = Callable[..., Audit]
LISTS = pa.list_(pa.float32())


def statistics_of(vectors: Sequence[Vector]) -> VectorStatistics:
    return vector_statistics(pa.array(vectors, LISTS))


@pytest.fixture
def audit_of(spark: SparkSession, tmp_path: Path) -> AuditOf:
    """Audits vectors and their models, distributed over `files` files."""

    def audit(
        vectors: Sequence[Vector], models: Sequence[str | None] | None = None, files: int = 1
    ) -> Audit:
        names = models or ["digest"] * len(vectors)
        locations = [Location.parse(str(tmp_path / f"{number}.parquet")) for number in range(files)]
        for number, location in enumerate(locations):
            columns = {
                "pca": pa.array(vectors[number::files], LISTS),
                "pca_model": pa.array(names[number::files], pa.string()),
            }
            pq.write_table(pa.table(columns), location.path, row_group_size=2)
        return audit_files(spark, locations, "pca", "pca_model")

    return audit


def refusal(found: Audit, rows: int | None = None, expected: int | None = None) -> str:
    """The error message for vectors that should have two numbers each."""
    count = found.rows if rows is None else rows
    with pytest.raises(AuditError) as caught:
        require_valid(
            "pca_components", found, 2, "digest", count, count if expected is None else expected
        )
    text = str(caught.value)
    assert text.startswith("pca_components: ")
    assert "Nothing was committed, and the previous version is still current." in text
    assert "Materialize pca_components again" in text
    return text.removeprefix("pca_components: ").partition(". Nothing")[0]


def test_statistics_of_simple_vectors() -> None:
    assert statistics_of([[1.0, -2.0], [0.5, 0.25]]) == VectorStatistics(
        nulls=0,
        not_finite=0,
        shortest=2,
        longest=2,
        smallest=-2.0,
        largest=1.0,
        smallest_norm=0.75,
        largest_norm=3.0,
    )


def test_shortest_and_longest_vectors_are_reported() -> None:
    found = statistics_of([[1.0], [1.0, 1.0, 1.0], [1.0, 1.0]])
    assert (found.shortest, found.longest) == (1, 3)


def test_rows_that_are_not_finite_are_counted_but_not_in_the_extremes() -> None:
    found = statistics_of([[1.0, NAN], [INF, -INF], [3.0, -4.0], [None, 1.0]])
    assert found.not_finite == 3
    assert (found.smallest, found.largest) == (-4.0, 3.0)
    assert (found.smallest_norm, found.largest_norm) == (7.0, 7.0)


def test_missing_vectors_are_counted() -> None:
    found = statistics_of([[1.0, 2.0], None, [1.0, 2.0], None])
    assert found.nulls == 2
    assert (found.shortest, found.longest) == (2, 2)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_empty_vector_has_length_and_norm_zero(place: int) -> None:
    lists: list[Vector] = [[1.0, 2.0], [3.0, 4.0]]
    lists.insert(place, [])
    found = statistics_of(lists)
    assert (found.shortest, found.longest) == (0, 2)
    assert (found.smallest_norm, found.largest_norm) == (0.0, 7.0)


def test_a_sliced_batch_counts_only_its_own_rows() -> None:
    whole = pa.array([[NAN, 1.0], [1.0, 2.0], None, [3.0, 4.0], [9.0]], LISTS)
    assert vector_statistics(whole.slice(1, 3)) == statistics_of([[1.0, 2.0], None, [3.0, 4.0]])


@pytest.mark.parametrize("vectors", [[], [None, None]])
def test_no_vectors_have_no_extremes(vectors: list[Vector]) -> None:
    assert statistics_of(vectors) == VectorStatistics(nulls=len(vectors))


def test_equal_vectors_have_equal_norms(audit_of: AuditOf) -> None:
    found = audit_of([[0.1, 0.2, 0.3]] * 7, files=3).vectors
    assert found.smallest_norm == found.largest_norm
    assert found.smallest_norm == pytest.approx(0.6)


@pytest.mark.parametrize("files", [1, 2, 40])
def test_an_audit_does_not_depend_on_the_distribution_of_rows(
    audit_of: AuditOf, files: int
) -> None:
    vectors: list[Vector] = [[float(n), -1.0] for n in range(1, 8)]
    found = audit_of([*vectors, None, None, None], files=files)
    assert (found.rows, found.models) == (10, {"digest"})
    assert found.vectors == statistics_of([*vectors, None, None, None])


def test_the_audit_of_no_files_is_empty(spark: SparkSession) -> None:
    assert audit_files(spark, [], "pca", "pca_model") == Audit()


def test_a_file_with_a_changed_byte_is_named(spark: SparkSession, tmp_path: Path) -> None:
    table = pa.table(
        {"pca": pa.array([[1.0, 2.0]] * 900, LISTS), "pca_model": pa.array(["digest"] * 900)}
    )
    file = tmp_path / "damaged.parquet"
    pq.write_table(table, file, write_page_checksum=True, use_dictionary=False)
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 1
    file.write_bytes(content)
    with pytest.raises(UnreadableVersionError, match=r"damaged\.parquet cannot be read"):
        audit_files(spark, [Location.parse(str(file))], "pca", "pca_model")


def test_valid_vectors_are_accepted(audit_of: AuditOf) -> None:
    found = audit_of([[1.0, 2.0], [0.0, 0.0]])
    require_valid("pca_components", found, 2, "digest", 2, 2)


def test_a_change_without_new_files_is_accepted_if_the_row_count_matches() -> None:
    require_valid("pca_components", Audit(), 2, "digest", 7, 7)
    assert refusal(Audit(), 7, 8) == "7 rows were written, 8 were expected"


@pytest.mark.parametrize(
    ("vectors", "fault"),
    [
        ([[1.0, 2.0], [NAN, 1.0], [1.0, INF]], "rows with NaN or infinity: 2"),
        ([[1.0, 2.0], [None, 1.0]], "rows with NaN or infinity: 1"),
        ([[1.0, 2.0], None], "rows without a vector: 1"),
        ([[1.0, 2.0], [1.0]], "vectors have 1 to 2 numbers, not 2"),
        ([[1.0, 2.0, 3.0]], "vectors have 3 to 3 numbers, not 2"),
        ([[]], "vectors have 0 to 0 numbers, not 2"),
    ],
)
def test_invalid_vectors_are_rejected_with_the_reason(
    audit_of: AuditOf, vectors: list[Vector], fault: str
) -> None:
    assert refusal(audit_of(vectors)) == fault


def test_rows_without_any_vector_are_rejected(audit_of: AuditOf) -> None:
    assert refusal(audit_of([None])) == "rows without a vector: 1"


@pytest.mark.parametrize(
    ("models", "fault"),
    [
        (["digest", "another"], "rows name 2 models, but only digest is expected"),
        (["another", "another"], "rows name 1 models, but only digest is expected"),
        (["digest", None], "rows name 2 models, but only digest is expected"),
    ],
)
def test_rows_of_another_model_are_refused(
    audit_of: AuditOf, models: list[str | None], fault: str
) -> None:
    assert refusal(audit_of([[1.0, 2.0]] * 2, models)) == fault


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_are_missing_or_too_many_are_refused(audit_of: AuditOf, rows: int) -> None:
    found = audit_of([[1.0, 2.0]] * rows)
    assert refusal(found, rows, 2) == f"{rows} rows were written, 2 were expected"


def test_all_faults_are_in_one_message(audit_of: AuditOf) -> None:
    found = audit_of([[NAN], None], ["another"] * 2)
    assert refusal(found, 2, 5).count(";") == 4
