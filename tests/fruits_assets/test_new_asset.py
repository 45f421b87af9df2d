"""The steps of "Add an asset" in CONTRIBUTING are sufficient to add an asset."""

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fruits_assets.catalog import CATALOG, AssetDescription, Group, PersonalData, RunsOn
from fruits_assets.cli.main import app
from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.metadata import Metadata
from fruits_assets.resources import AssetStorage
from spark_src.contract import PREFIXES
from spark_src.tables.change import Change
from spark_src.tables.parquet import new_name, write_file
from spark_src.tables.registry import STORED, TABLES, StoredAsset
from spark_src.tables.statistics import Statistics

NAME = "image_sizes"
SCHEMA = pa.schema([pa.field("width", pa.int32(), metadata={"comment": "pixels"})])


class SizesStatistics(Statistics):
    widest: int


def details(known: SizesStatistics) -> Metadata:
    return {"widest image": known.widest}


DESCRIPTION = AssetDescription(
    StoredAsset(NAME, SizesStatistics, SCHEMA),
    Group.EVALUATION,
    RunsOn.HOST,
    PersonalData.NONE,
    kinds=frozenset({"deltalake"}),
    libraries=("pyarrow",),
    details=details,
)


@DESCRIPTION.asset()
def image_sizes(
    context: dg.AssetExecutionContext, storage: AssetStorage
) -> dg.MaterializeResult[Change]:
    """The width of each image, as an example of a new asset."""
    write = storage.tables.begin(NAME, context.run.run_id)
    table = pa.table({"width": [100, 224]}, SCHEMA)
    file = write_file([table], write.folder, new_name(0), SCHEMA)
    return dg.MaterializeResult(
        value=Change(write, SizesStatistics(digest="d", rows=2, widest=224), (file,))
    )


def test_an_asset_that_is_described_once_is_stored_shown_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PREFIXES, NAME, "Sizes")
    monkeypatch.setitem(STORED, NAME, DESCRIPTION.stored)
    monkeypatch.setitem(TABLES, NAME, SCHEMA)
    monkeypatch.setitem(CATALOG, NAME, DESCRIPTION)
    storage = AssetStorage(root=str(tmp_path))
    resources = {"storage": storage, "delta": DeltaIOManager(storage=storage)}
    result = dg.materialize([image_sizes], resources=resources)
    (made,) = result.asset_materializations_for_node(NAME)
    assert made.metadata["widest image"].value == 224
    assert made.metadata["dagster/row_count"].value == 2
    assert str(made.metadata["libraries"].value).startswith("pyarrow ")
    monkeypatch.setenv("FRUITS_STORAGE", str(tmp_path))
    assert "+2 rows" in CliRunner().invoke(app, ["history", NAME]).output
    assert storage.tables.current(NAME).typed(SizesStatistics).widest == 224
