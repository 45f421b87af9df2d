"""How assets are kept: what an asset has worked out is committed, what it needs is opened."""

from typing import Any

import dagster as dg

from fruits_assets import metadata
from fruits_assets.failures import failures
from fruits_assets.resources import AssetStorage
from spark_src.errors import FruitsError
from spark_src.io.aws import aws_errors
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot

PHOTOS_SHOWN = "photos may be shown"
"""Metadata: what an unchanged asset showed is shown again only where the setting is the same."""


class DeltaIOManager(dg.ConfigurableIOManager):
    """A `Change` goes in and is committed; a `Snapshot` comes out. All assets are kept so."""

    storage: dg.ResourceDependency[AssetStorage]

    def store(self, change: Change, context: Any, code_version: str = "") -> metadata.Metadata:
        """Commit a change; return what the UI shows of the version.

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
        found = metadata.from_snapshot(snapshot, unchanged=change.is_empty)
        found |= {PHOTOS_SHOWN: dg.MetadataValue.bool(self.storage.show_photos)}
        if change.is_empty:
            before = metadata.shown_before(context, asset)
            if not before or before.get(PHOTOS_SHOWN) == found[PHOTOS_SHOWN]:
                return before | found
        return found | self._pictures(snapshot, context)

    def _pictures(self, snapshot: Snapshot, context: Any) -> metadata.Metadata:
        """What the UI shows besides figures; the version is current, whatever becomes of them."""
        from fruits_assets.previews import Gallery  # Matplotlib takes 0.7 s: only what draws pays

        try:
            return Gallery(self.storage.tables, self.storage.show_photos).draw(snapshot)
        except (OSError, ValueError, FruitsError) as error:
            context.log.warning(
                f"{snapshot.asset} is stored, but nothing can be drawn of it: {error}"
            )
            return {}

    def handle_output(self, context: dg.OutputContext, obj: Change) -> None:
        code_version = context.asset_spec.code_version or ""
        with failures(context):
            context.add_output_metadata(self.store(obj, context, code_version))

    def load_input(self, context: dg.InputContext) -> Snapshot:
        asset = context.asset_key.to_python_identifier()
        with failures(context), aws_errors(f"opening {asset}"):
            return self.storage.tables.current(asset)
