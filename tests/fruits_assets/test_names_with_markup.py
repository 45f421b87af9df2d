"""Names of folders are shown as they are, although Dagster's UI renders some texts as Markdown."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from fruits_assets.checks.file_integrity import CHECK_JOB_NAME
from fruits_assets.checks.grouping import Check, CheckContext
from fruits_assets.checks.splits_and_labels import classes_are_balanced, labels_are_varied
from fruits_assets.metadata import escape_markdown
from fruits_assets.resources import AssetStorage, Residency
from spark_src.io.locations import Location
from spark_src.tables.artifacts import commit_artifact
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import write_whole
from tests.spark_src.erasure_storage import statistics_of

BEACON = "![x](https://example.com/a.png)"
SHOWN = r"!\[x\](https://example.com/a.png)"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (BEACON, SHOWN),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("a|b `c` *d* ~e~ \\", r"a\|b \`c\` \*d\* \~e\~ \\"),
        ("two\r\n\n# lines", "two # lines"),
        ("Apple Golden 1/r2_0-100.jpg", "Apple Golden 1/r2_0-100.jpg"),
    ],
)
def test_markup_is_escaped(name: str, shown: str) -> None:
    assert escape_markdown(name) == shown


@pytest.mark.parametrize("check", [classes_are_balanced, labels_are_varied])
def test_a_label_is_no_markup_in_the_description_of_a_check(check: Check, tmp_path: Path) -> None:
    write = Tables(Location.parse(str(tmp_path))).begin("data_health", "run-1", [])
    write_whole(write.location / "data_health.bin", b"content")
    labels = {"labels": {BEACON: 1, "Apple": 50}, "near_share": {BEACON: 0.95}}
    commit_artifact(write, statistics_of("data_health").model_copy(update=labels))
    storage = AssetStorage(root=str(tmp_path))
    run = dg.DagsterRun(job_name=CHECK_JOB_NAME)
    result = check.evaluate(CheckContext(storage, Residency(uris=[]), run))
    assert SHOWN in str(result.description)
    assert BEACON not in str(result.description)
