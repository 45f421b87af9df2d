"""The IO manager: commits changes and opens snapshots."""

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
    """Commits a `Change` and loads a `Snapshot`, for all assets."""

    storage: dg.ResourceDependency[AssetStorage]

    def store(self, change: Change, context: Any, code_version: str = "") -> Metadata:
        """Commit a change; return the metadata of the new version.

        Args:
            change: the change to commit.
            context: of an asset, an op or an output; provides the log and the instance.
            code_version: the asset's code version.
        """
        asset = change.write.asset
        with aws_errors(f"writing {asset} to {change.write.location}"):
            snapshot = change.commit(code_version)
        if change.is_empty:
            context.log.info(f"{asset} is unchanged: version {snapshot.version} stays current")
        return materialization.describe(
            snapshot, context, self.storage, change.is_empty, change.details
        )

    def handle_output(self, context: dg.OutputContext, obj: Change) -> None:
        code_version = context.asset_spec.code_version or ""
        with failures(context):
            context.add_output_metadata(self.store(obj, context, code_version))

    def load_input(self, context: dg.InputContext) -> Snapshot:
        asset = context.asset_key.to_python_identifier()
        with failures(context), aws_errors(f"opening {asset}"):
            return self.storage.tables.current(asset)
