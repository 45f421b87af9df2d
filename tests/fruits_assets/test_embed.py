"""`fruits embed`, and the instructions of docs/phone.md for the same numbers on a phone."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fruits_assets.cli.main import main
from spark_src.tables.delta import Snapshot

REPOSITORY = Path(__file__).parents[2]
PHONE = (REPOSITORY / "docs" / "phone.md").read_text()

Embed = Callable[..., tuple[int, str, str]]
Current = Callable[[Path, str], Snapshot]
Read = Callable[[Path, str], pa.Table]


@pytest.fixture
def embed(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Embed:
    """Run the command: exit code, output, errors."""
    monkeypatch.setenv("FRUITS_STORAGE", str(stored))
    monkeypatch.chdir(REPOSITORY)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fruits", "embed", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        return int(ended.value.code or 0), output, errors

    return run


@pytest.fixture
def rows(stored: Path, read: Read) -> dict[str, dict[str, Any]]:
    """The table's rows by path."""
    return {row["path"]: row for row in read(stored, "pca_components").to_pylist()}


def documented(language: str, heading: str) -> str:
    section = PHONE.split(f"## {heading}")[1].split("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_the_numbers_are_those_of_the_table(
    embed: Embed, rows: dict[str, dict[str, Any]], sample: Path
) -> None:
    paths = sorted(rows)[::60]
    code, output, _ = embed(*(str(sample / path) for path in paths), "--format", "json")
    assert code == 0
    for path, found in zip(paths, json.loads(output), strict=True):
        assert found["path"] == str(sample / path)
        assert found["image_id"] == rows[path]["image_id"]
        np.testing.assert_allclose(found["pca"], rows[path]["pca"], atol=1e-6, rtol=1e-6)


def test_csv_and_table_have_one_number_per_component(
    embed: Embed, rows: dict[str, dict[str, Any]], sample: Path
) -> None:
    path = min(rows)
    _, output, _ = embed(str(sample / path), "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(output))
    numbers = [float(row[f"pca_{number}"]) for number in range(50)]
    np.testing.assert_allclose(numbers, rows[path]["pca"], atol=1e-6, rtol=1e-6)
    _, output, _ = embed(str(sample / path))
    assert "pca_49" in output and row["pca_49"] in output


def test_a_file_that_is_not_a_picture_is_reported_and_the_others_are_embedded(
    embed: Embed, sample: Path, tmp_path: Path
) -> None:
    good = str(next(sample.rglob("*.jpg")))
    missing = str(tmp_path / "missing.jpg")
    code, output, errors = embed("README.md", good, missing, "--format", "json")
    assert code == 1
    assert [row["path"] for row in json.loads(output)] == [good]
    assert "README.md: not_an_image: The first bytes" in errors
    assert f"{missing}: there is no such file" in errors


@pytest.mark.parametrize("command", ["embed", "search", "classify"])
def test_no_table_is_printed_if_no_file_is_a_picture(
    command: str,
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(stored))
    monkeypatch.setattr(sys, "argv", ["fruits", command, "missing.jpg"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    message = "error: missing.jpg: there is no such file; give the path of a picture\n"
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize(("command", "exit_code"), [("embed", 0), ("search", 2)])
def test_components_of_an_earlier_pca_model_are_not_compared(
    command: str,
    exit_code: int,
    copied: Path,
    sample: Path,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(copied, "pca_model", ops={"pca_model": {"n_components": 20}})
    monkeypatch.setenv("FRUITS_STORAGE", str(copied))
    monkeypatch.setattr(sys, "argv", ["fruits", command, str(next(sample.rglob("*.jpg")))])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == exit_code
    output, errors = capsys.readouterr()
    assert ("pca_19" in output) is (command == "embed")
    assert (
        (output + errors)
        .splitlines()[-1]
        .endswith(
            "pca_components was computed with an earlier PCA model, so pictures cannot be compared "
            "with it. Materialize it again: uv run fruits run --select pca_components"
        )
    )


def test_missing_models_are_reported_with_the_remedy(
    embed: Embed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(tmp_path))
    code, _, errors = embed("README.md")
    assert code == 2
    assert "mobilenet_model has no current version" in errors


def test_the_documented_parity_vector_is_what_the_documented_command_prints(embed: Embed) -> None:
    command = re.findall(r"uv run fruits embed '(.*)' (.*)\n", PHONE)
    (expected,) = json.loads(documented("json", "Verifying a port"))
    _, output, _ = embed(command[0][0], *command[0][1].split())
    (found,) = json.loads(output)
    assert list(found) == list(expected)
    assert (found["path"], found["image_id"]) == (expected["path"], expected["image_id"])
    for name, tolerance in [
        ("input[112, 32::64]", 1e-6),
        ("features[:8]", 1e-3),
        ("pca[:8]", 1e-3),
    ]:
        np.testing.assert_allclose(found[name], expected[name], atol=tolerance)


def test_the_documented_matrix_and_offset_give_the_components(
    stored: Path,
    current: Current,
    read: Read,
    rows: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(current(stored, "pca_model").data_location.path)
    shutil.copyfile(folder / "pca_model.parquet", tmp_path / "pca_model.parquet")
    monkeypatch.chdir(tmp_path)
    exec(documented("python", "3. Components"), {})  # noqa: S102
    matrix = np.fromfile("pca_matrix.f32", "<f4").reshape(50, 1280)
    offset = np.fromfile("pca_offset.f32", "<f4")
    for row in read(stored, "mobilenet_features").to_pylist()[:5]:
        features = np.array(row["features"], np.float32)
        components = matrix @ features - offset
        np.testing.assert_allclose(components, rows[row["path"]]["pca"], atol=1e-4)
