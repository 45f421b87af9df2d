"""The settings: their defaults, and a clear message for each invalid value."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fruits_assets.settings import Deployment, load_settings
from spark_src.errors import SettingsError
from spark_src.features.model import IMAGENET_WEIGHTS_SHA256

REPOSITORY = Path(__file__).resolve().parents[2]
VARIABLES = ("DEPLOYMENT", "INPUT", "STORAGE", "WEIGHTS", "REGION", "CLUSTER")


def refusal(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    for name, value in values.items():
        monkeypatch.setenv(f"FRUITS_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def test_with_nothing_set_the_sample_is_featurized_locally_into_the_data_folder() -> None:
    settings = load_settings()
    assert settings.deployment is Deployment.LOCAL
    assert settings.input_location.path == str(REPOSITORY / "sample" / "fruits-360")
    assert settings.storage_location.path == str(REPOSITORY / "data")
    assert settings.region == "eu-west-1"
    assert settings.cluster == "fruits-features"
    assert settings.pinned_weights


def test_the_default_weights_are_the_pinned_file() -> None:
    content = load_settings().weights_location.read()
    assert hashlib.sha256(content).hexdigest() == IMAGENET_WEIGHTS_SHA256


@pytest.mark.parametrize("spelling", ["{}", "file://{}"], ids=["path", "file URI"])
def test_other_weights_are_a_path_or_a_file_uri(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.h5"
    monkeypatch.setenv("FRUITS_WEIGHTS", spelling.format(file))
    settings = load_settings()
    assert settings.weights_location.path == str(file)
    assert not settings.pinned_weights


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DEPLOYMENT": "emr",
        "INPUT": "s3://photos/today",
        "STORAGE": "s3://fruits/store",
        "WEIGHTS": "/weights/own.h5",
        "REGION": "eu-west-3",
        "CLUSTER": "fruits-nightly",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"FRUITS_{name}", value)
    settings = load_settings()
    assert {name: str(getattr(settings, name.lower())) for name in values} == values


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("DEPLOYMENT", "production", "'local' or 'emr'"),
        ("DEPLOYMENT", "Local", "'local' or 'emr'"),
        ("REGION", "us-east-1", "use one of"),
        ("REGION", "eu-west-2", "Paris is eu-west-3"),
        ("INPUT", "ftp://photos/today", "s3://bucket/key"),
        ("STORAGE", "gs://fruits/store", "s3://bucket/key"),
        ("WEIGHTS", "https://example.org/weights.h5", "s3://bucket/key"),
    ],
)
def test_an_invalid_value_is_refused_with_variable_value_and_remedy(
    variable: str, value: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = refusal(monkeypatch, **{variable: value})
    assert f"FRUITS_{variable}={value!r}" in text
    assert remedy in text
    assert "\n" not in text


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("value", ["", "  "], ids=["empty", "blank"])
def test_an_empty_value_is_not_replaced_by_the_default(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"FRUITS_{variable}={value!r}" in refusal(monkeypatch, **{variable: value})


def test_london_is_reported_as_outside_the_eu(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, REGION="eu-west-2")
    assert "London is not in the EU; Paris is eu-west-3." in text


def test_only_london_gets_the_hint_about_london(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "London" not in refusal(monkeypatch, REGION="eu-west-9")


def test_all_invalid_values_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, REGION="us-east-1", STORAGE="gs://fruits", DEPLOYMENT="dev")
    assert [name in text for name in ("FRUITS_REGION", "FRUITS_STORAGE", "FRUITS_DEPLOYMENT")] == [
        True
    ] * 3
