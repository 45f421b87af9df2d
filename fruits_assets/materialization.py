"""The materialization event of a stored version: metadata, preview and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from fruits_assets import metadata, provenance
from fruits_assets.catalog import CATALOG
from fruits_assets.metadata import Metadata, readable
from fruits_assets.previews import Gallery
from fruits_assets.resources import AssetStorage
from spark_src.errors import FruitsError
from spark_src.tables.delta import Snapshot, is_table
from spark_src.tables.statistics import CsvStatistics

PHOTOS_SHOWN = "personal photos may be shown"
"""Metadata key. An earlier preview is reused only if this setting has not changed."""


def describe(
    snapshot: Snapshot,
    context: Any,
    storage: AssetStorage,
    unchanged: bool = False,
    details: Mapping[str, object] | None = None,
) -> Metadata:
    """Metadata of a version that was just stored, with its preview.

    Args:
        snapshot: the version.
        context: of an asset, an op or an output; provides the log and the instance.
        storage: has the setting that allows photos to be shown.
        unchanged: whether the run changed nothing; the previous preview is then reused.
        details: further results of the run.
    """
    found = version_metadata(snapshot, unchanged)
    found |= {PHOTOS_SHOWN: dg.MetadataValue.bool(storage.show_photos)}
    if unchanged:
        before = _last_metadata(context, snapshot)
        if before.get(PHOTOS_SHOWN) == found[PHOTOS_SHOWN]:
            return before | found
    shown = readable(dict(details or {}))
    return _preview(snapshot, context, storage) | shown | found  # the UI keeps this order


def version_metadata(snapshot: Snapshot, unchanged: bool = False) -> Metadata:
    """Common metadata of all assets, and asset-specific metadata from the statistics."""
    known, description = snapshot.statistics, CATALOG[snapshot.asset]
    details, note = description.details(known), snapshot.record.note
    found: Metadata = {"note": note} if note and note not in details.values() else {}
    found |= details
    if known.measured.images and known.measured.seconds:
        found["images per second"] = round(known.measured.images / known.measured.seconds, 1)
    found |= {
        "seconds": known.seconds,
        "data files": len(snapshot.files) if is_table(snapshot.asset) else len(known.files),
        "size": f"{snapshot.bytes:,} bytes",
        "version": snapshot.version,
        "unchanged": unchanged,
        "libraries": metadata.libraries(description.libraries),
    }
    found = readable(found) | {"dagster/uri": snapshot.data_location.uri}
    if is_table(snapshot.asset) or isinstance(known, CsvStatistics):
        found["dagster/row_count"] = known.rows
        found["dagster/column_schema"] = metadata.column_schema(snapshot)
    return found


def preview(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """Pictures and first rows of a version, if its asset has a preview."""
    return CATALOG[snapshot.asset].preview(gallery, snapshot)


def event(
    instance: dg.DagsterInstance,
    assets_def: dg.AssetsDefinition,
    output: dg.Output[Any],
    stored: Mapping[str, Any],
    asset: str | None = None,
) -> dg.AssetMaterialization:
    """The event of an output that was stored here, with the tags that Dagster sets itself.

    Without them, Dagster would report the asset as stale.
    """
    asset = asset or output.output_name
    tags = provenance.tags(instance, assets_def, dg.AssetKey(asset))
    if output.data_version:
        tags["dagster/data_version"] = output.data_version.value
        tags["dagster/data_version_is_user_provided"] = "true"
    return dg.AssetMaterialization(asset, metadata={**output.metadata, **stored}, tags=tags)


def _last_metadata(context: Any, snapshot: Snapshot) -> Metadata:
    """The metadata of the last materialization, reused for an unchanged asset.

    Empty if that was in another storage, whose records the same Dagster instance may hold.
    """
    instance: dg.DagsterInstance = getattr(context, "step_context", context).instance
    latest = instance.get_latest_materialization_event(dg.AssetKey(snapshot.asset))
    materialization = latest.asset_materialization if latest else None
    found = dict(materialization.metadata) if materialization else {}
    uri = found.get("dagster/uri")
    return found if uri and uri.value == snapshot.data_location.uri else {}


def _preview(snapshot: Snapshot, context: Any, storage: AssetStorage) -> Metadata:
    """The preview. If it fails, the version is still stored."""
    try:
        return preview(Gallery(storage.tables, storage.show_photos), snapshot)
    except (OSError, ValueError, FruitsError) as error:
        context.log.warning(f"{snapshot.asset} is stored, but its preview failed: {error}")
        return {}
