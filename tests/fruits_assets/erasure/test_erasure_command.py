"""`fruits erase`: dry run, confirmation, refusals and output."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from fruits_assets.cli import erase as erase_command
from spark_src.erasure import requests
from tests.fruits_assets.erasure.pipeline import OTHER, SUBJECT, add_run, assert_erased
from tests.pipeline import tables_in


def test_a_dry_run_shows_the_counts_and_shared_pictures(
    own: Path, fruits: Callable[..., tuple[int, str]]
) -> None:
    shutil.copytree(own / "input/photos" / OTHER, own / "input/photos" / SUBJECT.upper())
    code, text = fruits("erase", "--subject", SUBJECT, "--dry-run")
    assert code == 0
    for said in ("files under the input │ 42", "rows of raw_images │ 41", SUBJECT.upper()):
        assert said in text
    assert "also supplied by others (their copies stay) │ 1" in text
    assert f"next uv run fruits erase --subject {SUBJECT} # erases it" in text
    assert (own / "input/photos" / SUBJECT / "1.jpg").exists()
    assert not (own / "data" / "erasures").exists()


def test_the_command_asks_to_repeat_the_name_and_prints_the_receipt(
    own: Path, fruits: Callable[..., tuple[int, str]]
) -> None:
    code, text = fruits("erase", "--subject", SUBJECT, typed="somebody\n")
    assert (code, "The names do not match" in text) == (2, True)
    assert (own / "input/photos" / SUBJECT).exists()
    code, text = fruits("erase", "--subject", SUBJECT, typed=f"{SUBJECT}\n")
    assert code == 0, text
    for line in ("files deleted from the input │ 42", "rows deleted │ 42"):
        assert line in text
    assert "traces found by the scan │ 0" in text
    assert "next uv run fruits check" in text
    assert "DEBUG" not in text and "RUN_START" not in text
    assert_erased(own)


def test_a_failed_erasure_ends_with_its_reason(
    own: Path, fruits: Callable[..., tuple[int, str]]
) -> None:
    damaged = own / "data" / "erasures" / "pending-damaged.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    code, text = fruits("erase", "--subject", SUBJECT, "--yes")
    assert code == 2
    assert "pending-damaged" in text.partition("error: ")[2]
    assert "run `fruits erase` again" in text
    assert "Traceback" not in text and "STEP_FAILURE" not in text


def test_the_command_is_refused_while_a_run_is_in_progress(
    own: Path, fruits: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.get() as instance:
        run_id = add_run(instance, "__ASSET_JOB", dg.DagsterRunStatus.STARTED)
        code, text = fruits("erase", "--subject", SUBJECT, "--yes")
        assert code == 2
        assert f"in progress: {run_id[:8]} (STARTED)" in text
        assert not (own / "data" / "erasures").exists()
        instance.delete_run(run_id)
    monkeypatch.setattr(erase_command, "_run", lambda *_: None)
    assert fruits("erase", "--subject", SUBJECT, "--yes")[0] == 0
    assert len(requests.pending(tables_in(own / "data"))) == 1
