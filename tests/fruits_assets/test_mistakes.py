"""Typing mistakes are reported in one sentence with cause and remedy, before anything is read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fruits_assets.cli.main import main

NAMES = (
    "raw_images, rejected_images, mobilenet_model, mobilenet_features, pca_model, "
    "pca_components, csv_export, embedding_quality, data_health, fruit_classifier, label_issues"
)

SET = "write asset.field=value, e.g. --set pca_model.n_components=20."

IN_THIS_PROCESS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str], str]] = {
    "a misspelled asset": (
        ("run", "--select", "pca_modle"),
        {},
        "--select: there is no asset pca_modle: did you mean pca_model?",
    ),
    "one of several, with layers": (
        ("run", "--select", "csv_export,*mobilnet_features+"),
        {},
        "--select: there is no asset mobilnet_features: did you mean mobilenet_features?",
    ),
    "an asset to set": (
        ("run", "--set", "pca.n_components=20"),
        {},
        "--set pca.n_components=20: there is no asset pca: did you mean pca_model?",
    ),
    "no asset": (("run", "--set", "n_components=20"), {}, f"--set n_components=20: {SET}"),
    "an empty selection": (
        ("run", "--select", ""),
        {},
        "--select is empty: name an asset, or '*', or leave it out.",
    ),
    "too few components": (
        ("run", "-k", "0"),
        {},
        "Invalid value for '-k' / '--components': Input should be greater than or equal to 1. See "
        "`fruits run --help`.",
    ),
    "two numbers of components": (
        ("run", "-k", "20", "--set", "pca_model.n_components=30"),
        {},
        "pca_model.n_components is set 2 times, by --set or -k: set it only once.",
    ),
    "a misspelled variable": (
        ("run",),
        {"FRUITS_STORGE": "elsewhere"},
        "There is no setting FRUITS_STORGE: did you mean FRUITS_STORAGE? Correct the variable, or "
        "unset it.",
    ),
    "a variable that resembles no setting": (
        ("run",),
        {"FRUITS_K": "3"},
        "There is no setting FRUITS_K: choose from FRUITS_CANDIDATE, FRUITS_CLUSTER, "
        "FRUITS_COMPONENTS, FRUITS_DEPLOYMENT, FRUITS_INPUT, FRUITS_INPUT_QUEUE, FRUITS_MAX_SIDE, "
        "FRUITS_POLL_SECONDS, FRUITS_REGION, FRUITS_REMOTE_STEP, FRUITS_SHOW_PHOTOS, "
        "FRUITS_STORAGE, FRUITS_TRACEBACK, FRUITS_WEIGHTS. Correct the variable, or unset it.",
    ),
    "London": (
        ("check",),
        {"FRUITS_REGION": "eu-west-2"},
        "FRUITS_REGION='eu-west-2': eu-west-2 is not a region in the EU: use one of eu-west-1, "
        "eu-west-3, eu-central-1, eu-north-1, eu-south-1, eu-south-2. London is not in the EU; "
        "Paris is eu-west-3.",
    ),
    "a setting out of range": (
        ("check",),
        {"FRUITS_COMPONENTS": "1281"},
        "FRUITS_COMPONENTS='1281': Input should be less than or equal to 1280. Correct the "
        "variable, or unset it to use the default.",
    ),
    "an empty input": (
        ("run",),
        {"FRUITS_INPUT": " "},
        "FRUITS_INPUT=' ': is empty; unset it to use the default",
    ),
    "Dagster's home is missing": (
        ("run",),
        {"DAGSTER_HOME": "/missing"},
        "DAGSTER_HOME=/missing does not exist: create it (`mkdir -p /missing`), or unset "
        "DAGSTER_HOME to use the project's default.",
    ),
    "Dagster's home is missing for a check": (
        ("check",),
        {"DAGSTER_HOME": "/missing"},
        "DAGSTER_HOME=/missing does not exist: create it (`mkdir -p /missing`), or unset "
        "DAGSTER_HOME to use the project's default.",
    ),
    "Dagster's home is a file": (
        ("erase", "--subject", "4711", "--dry-run"),
        {"DAGSTER_HOME": "/etc/hosts"},
        "DAGSTER_HOME=/etc/hosts is a file: use a folder, or unset DAGSTER_HOME to use the "
        "project's default.",
    ),
    "the storage is a file": (
        ("run",),
        {"FRUITS_STORAGE": "/etc/hosts"},
        "/etc/hosts, where the tables are stored, is a file: set FRUITS_STORAGE to a folder.",
    ),
    "Dagster's home is relative": (
        ("run",),
        {"DAGSTER_HOME": "home"},
        "DAGSTER_HOME=home is relative: use an absolute path.",
    ),
    "the storage cannot be made": (
        ("run",),
        {"FRUITS_STORAGE": "/proc/data"},
        "/proc/data, where the tables are stored, is not writable (No such file or directory): set "
        "FRUITS_STORAGE to a folder that you may write to.",
    ),
    "a misspelled command": (
        ("rnu",),
        {},
        "No such command 'rnu'. Did you mean 'run'? See `fruits --help`.",
    ),
    "a misspelled option": (
        ("run", "--selct", "csv_export"),
        {},
        "No such option: --selct (Possible options: --help, --select, --set). See `fruits run "
        "--help`.",
    ),
    "no asset to look up": (
        ("path",),
        {},
        "Missing argument 'asset'. See `fruits path --help`.",
    ),
    "the path of an unknown asset": (
        ("path", "pca_component"),
        {},
        f"There is no asset 'pca_component'; did you mean pca_components? There are {NAMES}.",
    ),
    "the beginning of an asset's name": (
        ("path", "csv"),
        {},
        f"There is no asset 'csv'; did you mean csv_export? There are {NAMES}.",
    ),
}

IN_ITS_OWN: Mapping[str, tuple[tuple[str, ...], Mapping[str, str], str]] = {
    "a misspelled field": (
        ("run", "--set", "pca_model.n_component=20"),
        {},
        "--set pca_model.n_component=20: pca_model has no n_component: did you mean n_components?",
    ),
    "a field of an asset that has none": (
        ("run", "--set", "pca_components.n_components=20"),
        {},
        "--set pca_components.n_components=20: pca_components has no n_components: it has no "
        "settings.",
    ),
    "Python without docstrings": (
        ("run",),
        {"PYTHONOPTIMIZE": "2"},
        "PYTHONOPTIMIZE=2 removes docstrings, which Spark needs: unset it, or set it to 1.",
    ),
    "a value of another type": (
        ("run", "--set", "pca_model.n_components=many"),
        {},
        "--set pca_model.n_components=many: input should be a valid integer, unable to parse "
        "string as an integer. How many components to keep.",
    ),
    "a value out of range": (
        ("run", "--set", "pca_model.n_components=0"),
        {},
        "--set pca_model.n_components=0: input should be greater than or equal to 1. How many "
        "components to keep.",
    ),
    "a selection that cannot be read": (
        ("run", "--select", "key:((pca"),
        {},
        "--select key:((pca is not valid (",
    ),
    "a selection of nothing": (
        ("run", "--select", "tag:stage=nothing"),
        {},
        "--select tag:stage=nothing selects nothing: name an asset, or '*'.",
    ),
}


@pytest.mark.parametrize("mistake", IN_THIS_PROCESS)
def test_a_mistake_is_one_sentence(
    mistake: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, variables, message = IN_THIS_PROCESS[mistake]
    monkeypatch.setenv("FRUITS_STORAGE", str(tmp_path / "data"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["fruits", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    output, errors = capsys.readouterr()
    assert (ended.value.code, output) == (2, "")
    assert errors == f"error: {message}\n"


@pytest.mark.parametrize("mistake", IN_ITS_OWN)
def test_a_mistake_that_needs_dagster_to_detect_is_one_sentence(
    mistake: str, sample: Path, copied: Path
) -> None:
    arguments, variables, message = IN_ITS_OWN[mistake]
    done = fruits(
        arguments, {"FRUITS_STORAGE": str(copied), "FRUITS_INPUT": str(sample), **variables}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message.format(sample=sample)}")
    assert done.stderr.count("\n") == 1


def test_weights_in_another_format_are_reported_in_one_sentence(
    sample: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "wrong.h5"
    weights.write_text("text")
    done = fruits(
        ("run", "--select", "mobilenet_model"),
        {
            "FRUITS_STORAGE": str(tmp_path / "data"),
            "FRUITS_INPUT": str(sample),
            "FRUITS_WEIGHTS": str(weights),
        },
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        f"error: The weights {weights} are not those of a Keras MobileNetV2 without top (it is not "
        "an HDF5 file). Set FRUITS_WEIGHTS to `imagenet` or to such an .h5 file."
    )


def fruits(
    arguments: tuple[str, ...], variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("fruits")
    return subprocess.run(
        [command, *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (
            '{"ops": {"pca": {"config": {"n_components": 20}}}}',
            "The run config sets ops.pca, but there is no such op: did you mean pca_model?",
        ),
        (
            '{"ops": {"pca_components": {"config": {"n_components": 20}}}}',
            'unexpected config entry "n_components"',
        ),
        (
            '{"ops": {"mobilenet_model": {"config": {"weights": "x"}}}}',
            'unexpected config entry "weights"',
        ),
    ],
)
def test_dagsters_own_command_refuses_settings_that_no_asset_has(
    config: str, named: str, copied: Path
) -> None:
    command = [Path(sys.executable).with_name("dagster"), "asset", "materialize", "--select", "*"]
    done = subprocess.run(
        [*command, "--config-json", config],
        env=os.environ | {"FRUITS_STORAGE": str(copied)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert named in done.stderr + done.stdout


def test_dagsters_own_command_reports_an_invalid_setting_in_one_line(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("dagster"), "asset", "materialize", "--select", "*"]
    done = subprocess.run(
        command,
        env=os.environ | {"FRUITS_STORAGE": str(tmp_path), "FRUITS_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: FRUITS_REGION='us-east-1': us-east-1 is")
    assert "Traceback" not in done.stderr
    assert "superseded" not in done.stderr
