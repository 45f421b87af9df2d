"""`data_health`, `fruit_classifier` and `label_issues` of the sample and of added pictures."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from fruits_assets import search
from fruits_assets.checks.run_checks import Outcome
from fruits_assets.cli.main import main
from fruits_assets.materialization import preview
from fruits_assets.previews import Gallery
from spark_src.contract import PREFIXES
from spark_src.errors import ClassifierError
from spark_src.evaluation import classifier_files, health_files, label_issue_files
from spark_src.evaluation.class_sums_files import load_sums
from spark_src.pca.fit import load_current
from spark_src.tables.statistics import (
    ClassifierStatistics,
    FeaturesStatistics,
    HealthStatistics,
    LabelIssuesStatistics,
    RawImagesStatistics,
)
from tests.pipeline import tables_in

Run = Callable[..., dg.ExecuteInProcessResult]
Check = Callable[[Path], dict[str, Outcome]]
Command = Callable[..., tuple[int, str, str]]
Read = Callable[..., pa.Table]


@pytest.fixture(scope="module")
def original(sample: Path) -> Path:
    """A picture of the sample that is added again."""
    return min((sample / "Training" / "Apple Golden 1").iterdir())


@pytest.fixture(scope="module")
def planted(
    sample: Path,
    original: Path,
    stored: Path,
    run: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """Input and storage: the sample, refreshed after four copies of one picture were added."""
    folder = tmp_path_factory.mktemp("planted")
    source = Path(shutil.copytree(sample, folder / "input"))
    shutil.copy(original, source / "Test" / "Apple Golden 1" / "same.jpg")
    shutil.copy(original, source / "Training" / "Cherry 2" / "same.jpg")
    with Image.open(original) as picture:
        bigger = picture.resize((200, 200))
        bigger.save(source / "Test" / "Cherry 2" / "resized.jpg", quality=90)
        mirrored = ImageOps.mirror(picture)
        mirrored.save(source / "Training" / "Apple Golden 1" / "mirrored.png")
    root = Path(shutil.copytree(stored, folder / "data"))
    run(root, "*", source=source)
    return source, root


def test_the_samples_films_are_groups_of_near_duplicates(stored: Path) -> None:
    snapshot = tables_in(stored).current("data_health")
    known = snapshot.typed(HealthStatistics)
    assert (known.images, known.compared, known.exact_duplicates) == (240, 240, 0)
    assert known.near_duplicates > 50
    assert known.crossing["near duplicates in two labels"] == 0
    groups = health_files.load(snapshot, health_files.GROUPS)
    assert groups.groupby("group")["label"].nunique().max() == 1


def test_only_new_pictures_are_compared_and_each_planted_copy_is_found(
    planted: tuple[Path, Path], original: Path
) -> None:
    snapshot = tables_in(planted[1]).current("data_health")
    known = snapshot.typed(HealthStatistics)
    assert (known.images, known.compared, known.exact_duplicates) == (244, 2, 2)
    assert known.crossing["exact duplicates in two labels"] == 1
    assert known.crossing["exact duplicates in two splits"] == 2
    groups = health_files.load(snapshot, health_files.GROUPS).set_index("path")["group"]
    copies = ["Test/Apple Golden 1/same.jpg", "Training/Cherry 2/same.jpg"]
    copies += ["Test/Cherry 2/resized.jpg", "Training/Apple Golden 1/mirrored.png"]
    own = groups[f"Training/Apple Golden 1/{original.name}"]
    assert groups[copies].tolist() == [own] * 4


def test_a_refresh_finds_what_comparing_everything_finds(planted: tuple[Path, Path]) -> None:
    tables = tables_in(planted[1])
    names = ("mobilenet_features", "pca_model")
    recomputed = health_files.refresh(*map(tables.current, names), before=None)
    kept = health_files.load(tables.current("data_health"), health_files.GROUPS)
    assert recomputed.compared == 242
    assert recomputed.health.groups["path"].tolist() == kept["path"].tolist()


def test_refreshed_label_issues_equal_those_of_comparing_everything(
    planted: tuple[Path, Path],
) -> None:
    tables = tables_in(planted[1])
    refreshed = tables.current("label_issues")
    names = ("mobilenet_features", "pca_components", "fruit_classifier")
    recomputed = label_issue_files.check_labels(*map(tables.current, names))
    stored_rows = label_issue_files.load(refreshed)
    assert stored_rows["path"].tolist() == recomputed.rows["path"].tolist()
    assert stored_rows["neighbours"].tolist() == recomputed.rows["neighbours"].tolist()


def test_the_checks_show_only_ids_of_the_copies(planted: tuple[Path, Path], check: Check) -> None:
    outcomes = check(planted[1])
    splits = outcomes["data_health:no_picture_in_two_splits"]
    labels = outcomes["data_health:no_label_conflict"]
    assert (splits.verdict, labels.verdict) == ("FAILS", "warns")
    assert splits.text.startswith("2 exact and")
    assert labels.text.startswith("1 exact and")


def test_the_classifier_recognises_fruits_from_a_held_out_axis(
    stored: Path,
) -> None:
    snapshot = tables_in(stored).current("fruit_classifier")
    known = snapshot.typed(ClassifierStatistics)
    assert (known.classes, known.images) == (3, 180)
    assert known.accuracy["fruit"] > 0.95
    assert known.greatest_difference < 1e-4
    (answer,) = classifier_files.load_evaluation(snapshot)
    assert answer["per_class"].keys() == {"Apple Golden 1", "Cherry 2", "Tomato 2"}


def test_a_refreshed_classifier_equals_one_trained_from_scratch(planted: tuple[Path, Path]) -> None:
    tables = tables_in(planted[1])
    pca = load_current(tables.current("pca_model"))
    snapshot = tables.current("fruit_classifier")
    recomputed = classifier_files.train_head(tables.current("mobilenet_features"), None, pca)
    kept, head = (
        load_sums(snapshot.data_location / classifier_files.SUMS),
        classifier_files.load_head(snapshot),
    )
    assert kept.sums.sums.n_images == 182
    np.testing.assert_array_equal(kept.sums.totals, recomputed.stored.sums.totals)
    np.testing.assert_array_equal(kept.sums.sums.gram, recomputed.stored.sums.sums.gram)
    np.testing.assert_allclose(head.weights, recomputed.head.weights, rtol=0, atol=1e-9)


def test_an_unchanged_run_rebuilds_nothing(planted: tuple[Path, Path], run: Run) -> None:
    source, root = planted
    names = ("data_health", "fruit_classifier", "label_issues")
    before = {name: tables_in(root).current(name).version for name in names}
    run(root, " or ".join(f"key:{name}" for name in names), source=source)
    assert {name: tables_in(root).current(name).version for name in names} == before


def test_pictures_without_labels_do_not_fail(
    sample: Path, stored: Path, run: Run, tmp_path: Path
) -> None:
    source = tmp_path / "flat"
    source.mkdir()
    for picture in sorted(sample.rglob("*.jpg"))[:60]:
        shutil.copy(picture, source / f"{picture.parent.name} {picture.name}")
    root = Path(shutil.copytree(stored, tmp_path / "data"))
    result = run(root, "*", source=source, ops={"pca_model": {"n_components": 5}})
    assert result.success
    tables = tables_in(root)
    with pytest.raises(ClassifierError, match="at least two labels"):
        classifier_files.load_head(tables.current("fruit_classifier"))
    assert label_issue_files.load(tables.current("label_issues")).empty


@pytest.fixture
def command(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command of `fruits`: exit code, output, errors."""
    monkeypatch.setenv("FRUITS_STORAGE", str(stored))

    def execute(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fruits", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        return int(ended.value.code or 0), output, errors

    return execute


def test_a_picture_is_classified_with_probabilities(command: Command, original: Path) -> None:
    code, output, _ = command("classify", str(original), "--json")
    assert code == 0
    (shares,) = json.loads(output).values()
    assert next(iter(shares)) == "Apple Golden 1"
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    code, output, _ = command("classify", str(original))
    assert "Apple Golden 1" in output


def test_a_file_that_is_not_a_picture_is_reported_and_the_others_are_classified(
    command: Command, original: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    for name in ("classify", "search"):
        code, output, errors = command(name, str(broken), str(original))
        assert code == 1
        assert "broken.jpg" in errors
        assert "Apple Golden 1" in output


def test_a_search_finds_the_picture_itself_first_and_writes_a_page(
    command: Command, original: Path, tmp_path: Path
) -> None:
    page = tmp_path / "found.html"
    code, output, _ = command("search", str(original), "-k", "4", "--html", str(page))
    assert code == 0
    assert f"Training/Apple Golden 1/{original.name}" in output
    assert "0.000" in output
    html = page.read_text()
    assert html.count("data:image/webp;base64,") == 5
    assert html.count("Training/Apple Golden 1") + html.count("Test/Apple Golden 1") >= 4


def test_search_in_python_returns_one_row_per_match(stored: Path, original: Path) -> None:
    found = search([original, original.read_bytes()], k=3, storage=stored)
    assert found["picture"].tolist() == [0, 0, 0, 1, 1, 1]
    assert found["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert found["path"][0] == f"Training/Apple Golden 1/{original.name}"
    assert found["distance"][0] == pytest.approx(0, abs=1e-4)
    assert (found["label"] == "Apple Golden 1").all()


@pytest.fixture(scope="module")
def corrected(
    sample: Path, original: Path, stored: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Input and storage: the sample and seven unlabelled photos, refreshed with a corrected label.

    The list also has a row for a file that does not exist.
    """
    folder = tmp_path_factory.mktemp("corrected")
    source = Path(shutil.copytree(sample, folder / "input"))
    (source / "photos" / "4711").mkdir(parents=True)
    for number, turn in enumerate(Image.Transpose):
        with Image.open(original) as picture:
            picture.transpose(turn).save(source / "photos" / "4711" / f"{number}.jpg")
    root = Path(shutil.copytree(stored, folder / "data"))
    run(root, "raw_images*", source=source)
    rows = label_issue_files.load(tables_in(root).current("label_issues"))
    rows.loc[rows["path"].str.endswith(f"Apple Golden 1/{original.name}"), "label"] = "Apple 99"
    rows.loc[len(rows), ["path", "label"]] = ["Training/Apple 99/gone.jpg", "Apple 100"]
    rows.to_csv(source / "labels.csv", index=False, sep=";")
    run(root, "raw_images*", source=source)
    return source, root


def test_a_corrected_list_under_the_input_changes_the_labels_of_the_tables(
    corrected: tuple[Path, Path], original: Path, read: Read
) -> None:
    tables = tables_in(corrected[1])
    raw = tables.current("raw_images").typed(RawImagesStatistics)
    assert (raw.rows, raw.n_read, raw.n_corrected) == (247, 1, 1)
    assert raw.n_unknown_corrections == 1
    assert raw.ignored == {"labels.csv": 1}
    assert raw.labels["Apple 99"] == 1
    for asset in ("raw_images", "mobilenet_features", "pca_components"):
        rows = read(corrected[1], asset).select(["path", "label"]).to_pylist()
        changed = [row["path"] for row in rows if row["label"] == "Apple 99"]
        assert changed == [f"Training/Apple Golden 1/{original.name}"]
    features = tables.current("mobilenet_features").typed(FeaturesStatistics)
    assert features.computed == 0


def test_unlabelled_photos_are_listed_to_be_labelled_and_shown_only_if_allowed(
    corrected: tuple[Path, Path], run: Run
) -> None:
    source, root = corrected
    snapshot = tables_in(root).current("label_issues")
    found = label_issue_files.load(snapshot, label_issue_files.TO_LABEL)
    assert set(found["path"]) == {f"photos/4711/{number}.jpg" for number in range(7)}
    assert set(found["label"]) == {""}
    for show, text in ((False, "not shown"), (True, "data:image/webp")):
        shown = preview(Gallery(tables_in(root), show_photos=show), snapshot)
        assert text in shown["photos to label"].value
    run(root, "label_issues", source=source, ops={"label_issues": {"photos_to_label": 2}})
    fewer = tables_in(root).current("label_issues")
    assert fewer.typed(LabelIssuesStatistics).to_label == 2
    assert len(label_issue_files.load(fewer, label_issue_files.TO_LABEL)) == 2


def test_without_the_list_the_labels_are_the_folders_again(
    corrected: tuple[Path, Path], run: Run
) -> None:
    source, root = corrected
    (source / "labels.csv").unlink()
    run(root, "raw_images*", source=source)
    raw = tables_in(root).current("raw_images").typed(RawImagesStatistics)
    assert (raw.rows, raw.n_read, raw.n_corrected) == (247, 1, 0)
    assert "Apple 99" not in raw.labels


def test_every_labelled_picture_of_the_sample_is_in_the_list_once(stored: Path) -> None:
    snapshot = tables_in(stored).current("label_issues")
    content = (snapshot.data_location / label_issue_files.FILE).read().decode()
    rows = list(csv.DictReader(io.StringIO(content)))
    assert len({row["path"] for row in rows}) == len(rows) == 240
    assert (Path(stored) / PREFIXES["label_issues"]).is_dir()
