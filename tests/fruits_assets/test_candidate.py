"""Another model's storage is compared with the current one, which it does not change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from fruits_assets.checks.run_checks import Outcome
from fruits_assets.cli.main import app
from spark_src.contract import PREFIXES

Check = Callable[[Path], dict[str, Outcome]]
Run = Callable[..., dg.ExecuteInProcessResult]

CHECK = "fruit_classifier:candidate_is_not_worse"


@pytest.fixture(scope="module")
def worse(stored: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a worse model: one with a single component."""
    root = tmp_path_factory.mktemp("worse") / "data"
    shutil.copytree(stored, root)
    run(root, "pca_model+", ops={"pca_model": {"n_components": 1}})
    return root


@pytest.fixture(scope="module")
def compared(
    stored: Path, worse: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dg.ExecuteInProcessResult]:
    """Storage and result of a run that compares the candidate."""
    root = tmp_path_factory.mktemp("compared") / "data"
    shutil.copytree(stored, root)
    select = "key:embedding_quality or key:fruit_classifier"
    return root, run(root, select, options={"candidate": str(worse)})


def table(result: dg.ExecuteInProcessResult, asset: str, name: str) -> list[Mapping[str, Any]]:
    (made,) = result.asset_materializations_for_node(asset)
    value = made.metadata[name]
    assert isinstance(value, dg.TableMetadataValue)
    return [record.data for record in value.records]


def test_one_table_shows_both_models(compared: tuple[Path, dg.ExecuteInProcessResult]) -> None:
    accuracy = table(compared[1], "embedding_quality", "accuracy")[0]
    assert list(accuracy) == ["measure", "fruit, current model", "fruit, candidate model"]
    (row,) = table(compared[1], "fruit_classifier", "candidate")
    assert (row["question"], row["candidate is"]) == ("fruit", "worse")
    assert float(row["candidate"].rstrip("%")) < float(row["current"].rstrip("%"))


def test_the_check_warns_of_a_worse_candidate(
    compared: tuple[Path, dg.ExecuteInProcessResult], check: Check
) -> None:
    outcome = check(compared[0])[CHECK]
    assert (outcome.verdict, outcome.exit_code) == ("warns", 0)
    assert outcome.text.startswith("the candidate is worse for fruit (-")


def test_without_a_candidate_the_check_passes(stored: Path, check: Check) -> None:
    outcome = check(stored)[CHECK]
    assert outcome.verdict == "passes"
    assert "FRUITS_CANDIDATE" in outcome.text


def test_nothing_of_the_current_model_is_replaced(
    compared: tuple[Path, dg.ExecuteInProcessResult],
    stored: Path,
    digests: Callable[[Path], dict[str, str]],
) -> None:
    evaluated = (f"{PREFIXES['embedding_quality']}/", f"{PREFIXES['fruit_classifier']}/")
    before, after = (
        {name: digest for name, digest in digests(root).items() if not name.startswith(evaluated)}
        for root in (stored, compared[0])
    )
    assert before == after


def test_the_command_exits_with_1_for_a_worse_candidate(
    stored: Path, worse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(stored))
    assert CliRunner().invoke(app, ["compare", str(worse)]).exit_code == 1
    assert CliRunner().invoke(app, ["compare", str(stored)]).exit_code == 0
    monkeypatch.setenv("FRUITS_CANDIDATE", str(worse))
    done = CliRunner().invoke(app, ["compare"])
    assert done.exit_code == 1
    assert "worse" in done.output
