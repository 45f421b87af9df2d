"""AWS clients need a configured region, and are replaced when it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spark_src.errors import SettingsError
from spark_src.io.aws import client, reset_clients, s3_files, use_region


@pytest.fixture(autouse=True)
def _no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")
    reset_clients()


def region_of_boto3() -> str:
    return str(client("s3").meta.region_name)


def region_of_pyarrow() -> str:
    return str(s3_files().region)


@pytest.mark.parametrize("region_of", [region_of_boto3, region_of_pyarrow])
def test_a_client_without_a_region_is_refused(region_of: Callable[[], Any]) -> None:
    with pytest.raises(SettingsError, match="No AWS region is configured"):
        region_of()


@pytest.mark.parametrize("region_of", [region_of_boto3, region_of_pyarrow])
def test_a_client_made_earlier_does_not_survive_another_region(
    region_of: Callable[[], str],
) -> None:
    use_region("eu-west-1")
    assert region_of() == "eu-west-1"
    use_region("eu-west-3")
    assert region_of() == "eu-west-3"


def test_a_client_is_made_once_for_each_region() -> None:
    use_region("eu-west-1")
    assert client("s3") is client("s3", "eu-west-1")
    assert client("s3") is not client("s3", "eu-west-3")
