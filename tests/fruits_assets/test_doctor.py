"""The findings of `fruits doctor` about a folder of pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fruits_assets.cli._doctor_pictures import picture_findings
from fruits_assets.cli._finding import Finding, Level
from fruits_assets.cli.doctor import next_command
from fruits_assets.settings import Settings


def findings(folder: Path, *names: str, storage: str = "data") -> dict[str, Finding]:
    """The findings about a folder with these files, by subject."""
    for name in names:
        file = folder / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"content")
    settings = Settings(input=str(folder / "in"), storage=str(folder / storage))
    return {finding.subject: finding for finding in picture_findings(settings)}


def test_splits_inside_another_folder_cause_a_warning(tmp_path: Path) -> None:
    found = findings(tmp_path, "fruits/Train/Apple/1.jpg", "fruits/test/Apple/1.jpg")
    finding = found["splits, labels"]
    assert finding.level is Level.WARNING
    assert finding.text.startswith("no splits; 1 label\nThe split folders are under fruits")


def test_splits_labels_and_photos_of_people_are_counted(tmp_path: Path) -> None:
    found = findings(
        tmp_path, "train/A/1.jpg", "TRAIN/A/2.jpg", "Valid/B/1.jpg", "photos/4711/C/1.jpg"
    )
    text = "splits Training 2, Validation 1; 3 labels; 1 photo of people"
    assert found["splits, labels"] == Finding("splits, labels", text)


def test_a_storage_inside_the_folder_is_an_error(tmp_path: Path) -> None:
    found = findings(tmp_path, "1.jpg", storage="in/data")
    assert found["pictures"].level is Level.ERROR
    assert "is inside the input" in found["pictures"].text


def test_a_folder_of_litter_is_an_error_that_names_it(tmp_path: Path) -> None:
    finding = findings(tmp_path, ".DS_Store", "a/Thumbs.db")["pictures"]
    assert finding.level is Level.ERROR
    assert "contains no pictures, only ignored files (.DS_Store 1, Thumbs.db 1)" in finding.text


def test_a_folder_of_links_is_an_error_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    finding = findings(tmp_path)["pictures"]
    assert finding.level is Level.ERROR
    assert finding.text.startswith("1 to be rejected (link 1) under ")


def test_other_files_are_named_with_the_setting_that_lets_the_run_pass(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(48)]
    finding = findings(tmp_path, *names, "1.pdf", "2.PDF", "notes.txt")["formats"]
    assert finding.level is Level.WARNING
    assert "not pictures: .pdf 2, .txt 1" in finding.text
    assert finding.text.endswith("add --set ingest.max_rejected_share=0.06)")


@pytest.mark.parametrize(
    ("names", "level", "text"),
    [
        (["1.jpg"], Level.ERROR, "PCA needs two or more"),
        (["Training/A/1.jpg", "Test/A/1.jpg"], Level.ERROR, "PCA needs two or more"),
        (["1.jpg", "2.jpg"], Level.WARNING, "2 pictures to fit on allow at most 1 of 50"),
    ],
)
def test_k_is_compared_with_the_pictures_that_pca_is_fitted_on(
    names: list[str], level: Level, text: str, tmp_path: Path
) -> None:
    finding = findings(tmp_path, *names)["PCA"]
    assert finding.level is level
    assert text in finding.text


@pytest.mark.parametrize(
    ("worst", "folder", "variable", "expected"),
    [
        (Level.GOOD, None, None, "next    uv run fruits run"),
        (Level.GOOD, "my photos", None, "next    FRUITS_INPUT='my photos' uv run fruits run"),
        (Level.WARNING, None, "/a", "next    FRUITS_INPUT=/a uv run fruits run"),
        (
            Level.ERROR,
            "it's",
            "/a",
            "next    fix the lines marked `error`, then: "
            "FRUITS_INPUT='it'\"'\"'s' uv run fruits doctor",
        ),
    ],
)
def test_the_next_command_can_be_pasted_into_a_shell(
    worst: Level,
    folder: str | None,
    variable: str | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FRUITS_INPUT", raising=False)
    if variable is not None:
        monkeypatch.setenv("FRUITS_INPUT", variable)
    assert next_command(worst, folder) == expected


@pytest.mark.parametrize(
    ("closed", "is_shown"), [("<&-", True), ("2>&-", True), (">&-", False), ("<&- >&- 2>&-", False)]
)
def test_closed_standard_streams_do_not_change_the_result(
    closed: str, is_shown: bool, tmp_path: Path
) -> None:
    command = str(Path(sys.executable).with_name("fruits"))
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" doctor "$1" {closed}', command, str(tmp_path / "missing")],
        env=os.environ | {"FRUITS_STORAGE": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert ("next    fix the lines" in done.stdout) is is_shown
