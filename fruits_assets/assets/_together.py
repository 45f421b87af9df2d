"""Assets of one op are made together, also when only one of them was selected."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fruits_assets import provenance
from fruits_assets.io_managers import DeltaIOManager


def selected_outputs(
    context: dg.AssetExecutionContext,
    outputs: Iterator[dg.Output[Any]],
    io_manager: DeltaIOManager,
) -> Iterator[dg.Output[Any]]:
    """Yield the outputs that were selected; store and report the others here.

    Dagster refuses outputs that were not selected, but a ledger without its pictures, or
    components without the model that made them, would be of no use.
    """
    for output in outputs:
        if output.output_name in context.op_execution_context.selected_output_names:
            yield output
            continue
        code_version = context.assets_def.specs_by_key[dg.AssetKey(output.output_name)].code_version
        stored = io_manager.store(output.value, context, code_version or "")
        context.log_event(materialization(context.instance, context.assets_def, output, stored))


def materialization(
    instance: dg.DagsterInstance,
    assets_def: dg.AssetsDefinition,
    output: dg.Output[Any],
    stored: Mapping[str, Any],
    asset: str | None = None,
) -> dg.AssetMaterialization:
    """The event of an output that was stored here, with the tags that Dagster gives its own.

    Without them Dagster would call the asset stale.
    """
    asset = asset or output.output_name
    tags = provenance.tags(instance, assets_def, dg.AssetKey(asset))
    if output.data_version:
        tags["dagster/data_version"] = output.data_version.value
        tags["dagster/data_version_is_user_provided"] = "true"
    return dg.AssetMaterialization(asset, metadata={**output.metadata, **stored}, tags=tags)
