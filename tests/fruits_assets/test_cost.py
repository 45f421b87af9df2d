"""The cost estimate for cluster time, and the command that prints it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fruits_assets.cli.cost import cost as cost_command
from fruits_assets.emr import cost
from spark_src.errors import FruitsError
from spark_src.tables.artifacts import commit_artifact
from spark_src.tables.delta import Snapshot, is_table
from spark_src.tables.statistics import Measurement
from tests.pipeline import tables_in

Keep = Callable[[str, Measurement], None]

THREE = {"m5.xlarge": 3}
MEASURED = Measurement(seconds=60.0, images=12_000, cores=2)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("cost")(cost_command)
    return app


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRUITS_STORAGE", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def keep(root: Path, stored: Path, current: Callable[[Path, str], Snapshot]) -> Keep:
    """Store a version of an asset with this measured duration."""

    def store(asset: str, measured: Measurement) -> None:
        known = current(stored, asset).statistics.model_copy(update={"measured": measured})
        write = tables_in(root).begin(asset, "run")
        write.commit(known) if is_table(asset) else commit_artifact(write, known)

    return store


def rows(app: typer.Typer, *options: str) -> tuple[dict[str, list[str]], str]:
    """The table's rows by part, and the complete output."""
    done = CliRunner().invoke(app, list(options), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in done.output.splitlines()
    ]
    return {row[0]: row[1:] for row in cells if len(row) == 4}, done.output


def test_three_m5_xlarge_cost_the_designs_0_786_an_hour() -> None:
    estimate = cost.from_run(3600, THREE, 50_000)
    assert estimate.instance_hours == pytest.approx(3)
    assert estimate.usd == pytest.approx(0.786)
    assert estimate.usd_per_100_000 == pytest.approx(1.572)


def test_each_type_has_its_own_price() -> None:
    estimate = cost.from_run(1800, {"m5.xlarge": 1, "m5.2xlarge": 2}, 1)
    assert estimate.usd == pytest.approx((0.262 + 2 * 0.524) / 2)


def test_a_type_without_a_price_is_reported_and_not_counted_as_free() -> None:
    estimate = cost.from_run(3600, THREE | {"x9.huge": 1}, 100)
    assert estimate.usd is None
    assert cost.metadata(estimate) == {
        "instance hours": 4.0,
        "estimated USD": "no price for x9.huge",
        "estimated USD per 100,000 images": "no price for x9.huge",
    }


def test_a_type_without_instances_needs_no_price() -> None:
    assert cost.from_run(3600, THREE | {"x9.huge": 0}, 1).usd == pytest.approx(0.786)


def test_metadata_are_plain_numbers() -> None:
    shown = cost.metadata(cost.from_run(600, THREE, 10_000))
    assert shown == {
        "instance hours": 0.5,
        "estimated USD": 0.131,
        "estimated USD per 100,000 images": 1.31,
    }
    assert {type(value) for value in shown.values()} == {float}


def test_a_run_of_no_images_has_no_price_per_image() -> None:
    shown = cost.metadata(cost.from_run(600, THREE, 0))
    assert shown["estimated USD"] == 0.131
    assert shown["estimated USD per 100,000 images"] == "no images"


def test_a_whole_run_counts_the_start_and_the_idle_time() -> None:
    taken = {"features": 0.01, "PCA": 0.005}
    parts = cost.from_images(80_000, taken, 8, THREE, start_minutes=6, idle_minutes=30)
    hours = {part: estimate.instance_hours for part, estimate in parts.items()}
    expected = {
        "start-up": 0.3,
        "features": 3 * 100 / 3600,
        "PCA": 3 * 50 / 3600,
        "idle until auto-termination": 1.5,
    }
    assert hours == pytest.approx(expected | {"total": sum(expected.values())})
    usd = [estimate.usd or math.nan for part, estimate in parts.items() if part != "total"]
    assert parts["total"].usd == pytest.approx(sum(usd))


def test_an_idle_hour_costs_more_than_featurizing_100_000_images_at_100_a_second() -> None:
    parts = cost.from_images(100_000, {"features": 0.01}, 8, THREE)
    idle, busy = parts["idle until auto-termination"].usd, parts["features"].usd
    assert idle is not None
    assert busy is not None
    assert idle > busy


def test_the_command_uses_measurements(app: typer.Typer, keep: Keep) -> None:
    keep("mobilenet_features", MEASURED)
    for asset in ("raw_images", "pca_model", "pca_components", "csv_export"):
        keep(asset, Measurement(seconds=6.0, images=12_000, cores=1))
    shown, output = rows(app, "--images", "480000", "--idle-minutes", "30")
    assert "100.0 images per second and core, measured on 12,000 images and 2 cores" in output
    # 480,000 images at 100 per second on each of 8 cores: 600 s on three instances.
    assert shown["features"] == ["10.0", "0.50", "0.13"]
    for stage in ("ingest", "PCA fit", "projection", "CSV"):  # 2,000 per second and core
        assert shown[stage] == ["0.5", "0.03", "0.01"]
    assert shown["start-up"][0] == "8.0"
    assert shown["idle until auto-termination"][0] == "30.0"
    assert shown["total"] == ["50.0", "2.50", "0.66"]


def test_a_stage_without_measurement_is_reported_as_such(app: typer.Typer, keep: Keep) -> None:
    keep("mobilenet_features", MEASURED)
    keep("pca_components", Measurement(images=12_000))
    shown, _ = rows(app, "--images", "480000")
    assert shown["projection"] == shown["ingest"] == ["not measured", "", ""]


@pytest.mark.parametrize("measured", [None, Measurement(), Measurement(images=12_000)])
def test_without_measurements_the_command_reports_how_to_get_them(
    app: typer.Typer, keep: Keep, measured: Measurement | None
) -> None:
    if measured is not None:
        keep("mobilenet_features", measured)
    with pytest.raises(FruitsError, match="Materialize once"):
        rows(app, "--images", "1000")


def test_one_materialization_is_enough(
    app: typer.Typer, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(stored))
    shown, output = rows(app, "--images", "100000")
    assert "measured on 240 images and" in output
    assert "not measured" not in output
    assert float(shown["features"][0]) > 0


def test_an_unchanged_input_keeps_the_measurements(
    app: typer.Typer, copied: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(copied, "mobilenet_features")
    monkeypatch.setenv("FRUITS_STORAGE", str(copied))
    _, output = rows(app, "--images", "100000")
    assert "measured on 240 images and" in output


def test_a_type_without_a_price_is_shown_as_such(app: typer.Typer, keep: Keep) -> None:
    keep("mobilenet_features", MEASURED)
    options = ["--images", "1000", "--instance-type", "x9.huge"]
    with pytest.raises(FruitsError, match="--cores"):
        rows(app, *options)
    assert rows(app, *options, "--cores", "4")[0]["total"][2] == "no price for x9.huge"


def test_a_region_with_other_prices_is_mentioned(
    app: typer.Typer, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("mobilenet_features", MEASURED)
    assert "differ" not in rows(app, "--images", "1000")[1]
    monkeypatch.setenv("FRUITS_REGION", "eu-west-3")
    assert "Prices in eu-west-3 differ" in rows(app, "--images", "1000")[1]
