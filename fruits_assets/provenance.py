"""Dagster's data provenance tags, for events that lack them."""

import dagster as dg

from fruits_assets.dagster_internals import extract_data_version_from_entry

UNVERSIONED = "INITIAL"
"""What Dagster writes for an input without a version, such as the external input."""


def tags(
    instance: dg.DagsterInstance, assets_def: dg.AssetsDefinition, asset: dg.AssetKey
) -> dict[str, str]:
    """Code version, and the version of each input that the instance has recorded last."""
    spec = assets_def.specs_by_key[asset]
    found = {"dagster/code_version": spec.code_version or ""}
    for dep in spec.deps:
        record = instance.get_latest_data_version_record(dep.asset_key)
        version = record and extract_data_version_from_entry(record.event_log_entry)
        name = dep.asset_key.to_user_string()
        found[f"dagster/input_data_version/{name}"] = version.value if version else UNVERSIONED
        found[f"dagster/input_event_pointer/{name}"] = str(record.storage_id) if record else "NULL"
    return found
