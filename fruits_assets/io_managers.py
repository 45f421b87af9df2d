"""How assets are stored and loaded: changes are committed, snapshots are opened. Nothing else."""

from typing import Any

import dagster as dg

from fruits_assets import materialization
from fruits_assets.failures import failures
from fruits_assets.metadata import Metadata
from fruits_assets.resources import AssetStorage
from spark_src.io.aws import aws_errors
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot


class DeltaIOManager(dg.ConfigurableIOManager):
    """Commits a `Change`, loads a `Snapshot`. All assets are stored so."""

    storage: dg.ResourceDependency[AssetStorage]

    def store(self, change: Change, context: Any, code_version: str = "") -> Metadata:
        """Commit a change; return what Dagster records of the version.

        Args:
            change: see there.
            context: of an asset, an op or an output: for its log and its instance.
            code_version: of the asset.
        """
        asset = change.write.asset
        with aws_errors(f"making {asset} under {change.write.location}"):
            snapshot = change.commit(code_version)
        if change.is_empty:
            context.log.info(f"{asset} is unchanged: version {snapshot.version} stays current")
        return materialization.describe(snapshot, context, self.storage, change.is_empty)

    def handle_output(self, context: dg.OutputContext, obj: Change) -> None:
        code_version = context.asset_spec.code_version or ""
        with failures(context):
            context.add_output_metadata(self.store(obj, context, code_version))

    def load_input(self, context: dg.InputContext) -> Snapshot:
        asset = context.asset_key.to_python_identifier()
        with failures(context), aws_errors(f"opening {asset}"):
            return self.storage.tables.current(asset)
