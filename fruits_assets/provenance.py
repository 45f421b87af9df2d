"""Dagster's data provenance tags, for events that lack them."""

import dagster as dg

from fruits_assets.dagster_internals import (
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    extract_data_version_from_entry,
)


def tags(
    instance: dg.DagsterInstance, assets_def: dg.AssetsDefinition, asset: dg.AssetKey
) -> dict[str, str]:
    """Code version, and the version of each input that the instance has recorded last."""
    spec = assets_def.specs_by_key[asset]
    found = {"dagster/code_version": spec.code_version or ""}
    for dep in spec.deps:
        record = instance.get_latest_data_version_record(dep.asset_key)
        version = record and extract_data_version_from_entry(record.event_log_entry)
        pointer = record.storage_id if record else NULL_EVENT_POINTER
        name = dep.asset_key.to_user_string()
        # An input without a version, such as the external one, has the default version.
        found[f"dagster/input_data_version/{name}"] = (version or DEFAULT_DATA_VERSION).value
        found[f"dagster/input_event_pointer/{name}"] = str(pointer)
    return found
