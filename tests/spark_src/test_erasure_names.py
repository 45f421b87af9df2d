"""The name must equal the folder's. Similar names and other locations are refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_src.erasure import requests
from spark_src.erasure.lookup import find
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from tests.pipeline import ingest
from tests.spark_src.erasure_storage import ANNA, Deployment, write_picture

NFD = unicodedata.normalize("NFD", "josé")
"""Looks like `josé`, but is a different name on Linux."""


@pytest.mark.parametrize(
    ("folder", "subject"),
    [
        (f"photos/{NFD}", "josé"),
        ("photos/Anna-7F3x", "anna-7f3x"),
        ("photos/anna-7f3x ", "anna-7f3x"),
        ("Photos/anna-7f3x", "anna-7f3x"),
        ("photos/anna-7f3x.", "anna-7f3x"),
        ("photos/anna-7f3x. .", "anna-7f3x"),
        ("photos/anna\u202e-7f3x", "anna-7f3x"),
        ("photos/anna-7f3x\ufe0f", "anna-7f3x"),
        ("photos/anna\x7f-7f3x", "anna-7f3x"),
        ("photos/anna\u3164-7f3x", "anna-7f3x"),
        ("photos/anna  7f3x", "anna 7f3x"),
        ("photos/anna-7f3x", "anna-7f3x\n"),
    ],
)
def test_a_name_similar_to_a_persons_is_listed_and_refused(
    deployment: Deployment, folder: str, subject: str
) -> None:
    tables, source = deployment
    write_picture(Path(source.path, folder, "1.png"), 1)
    with pytest.raises(ErasureError, match="differs only in letter case") as refused:
        requests.add(tables, source, Target.from_names(subject))
    assert repr(folder) in str(refused.value)
    assert not requests.pending(tables)
    assert Path(source.path, folder, "1.png").exists()


def test_a_name_similar_to_a_persons_in_the_tables_only_is_refused(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    write_picture(Path(source.path, "photos", "josé", "1.png"), 1)
    ingest(spark, tables, source, run_id="run-2")
    Path(source.path, "photos", "josé").rename(Path(source.path, "photos", NFD))
    with pytest.raises(ErasureError, match="spell the folder of"):
        requests.add(tables, source, Target.from_names(NFD))
    with pytest.raises(ErasureError, match="spell the folder of"):
        requests.add(tables, source, Target.from_names("josé"))
    ingest(spark, tables, source, run_id="run-3")
    requests.add(tables, source, Target.from_names(NFD))


@pytest.mark.parametrize("folder", ["eva-9", "backup/eva-9", "photos/ben-22c/eva-9"])
def test_a_folder_of_that_name_anywhere_else_is_reported(
    deployment: Deployment, folder: str
) -> None:
    tables, source = deployment
    write_picture(Path(source.path, folder, "1.png"), 1)
    with pytest.raises(ErasureError, match="one level too deep") as refused:
        requests.add(tables, source, Target.from_names("eva-9"))
    assert repr(folder) in str(refused.value)
    write_picture(Path(source.path, "photos", "eva-9", "1.png"), 1)
    assert find(tables, source, Target.from_names("eva-9")).elsewhere == (folder,)


def test_a_person_without_any_data_is_reported(deployment: Deployment) -> None:
    tables, source = deployment
    with pytest.raises(ErasureError, match="There is no trace of anna-7f4"):
        requests.add(tables, source, Target.from_names("anna-7f4"))


def test_a_missing_input_is_not_treated_as_empty(deployment: Deployment) -> None:
    tables, source = deployment
    Path(source.path).rename(Path(source.path + "-unmounted"))
    with pytest.raises(ErasureError, match="Is its disk mounted"):
        requests.add(tables, source, Target.from_names(ANNA))
