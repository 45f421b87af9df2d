"""Assets of one op are made together, also when only one of them was selected."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fruits_assets import provenance
from fruits_assets.io_managers import VersionedIOManager


def selected_outputs(
    context: dg.AssetExecutionContext,
    outputs: Iterator[dg.Output[Any]],
    io_managers: Mapping[str, VersionedIOManager],
) -> Iterator[dg.Output[Any]]:
    """Yield the outputs that were selected; store and report the others here.

    Dagster refuses outputs that were not selected, but a ledger without its pictures, or
    components without the model that made them, would be of no use.
    """
    for output in outputs:
        if output.output_name in context.op_execution_context.selected_output_names:
            yield output
            continue
        asset = output.output_name
        stored = io_managers[asset].store(output.value, asset, context.run.run_id, context.log.info)
        context.log_event(
            dg.AssetMaterialization(
                asset, metadata={**output.metadata, **stored}, tags=_provenance(context, output)
            )
        )


def _provenance(context: dg.AssetExecutionContext, output: dg.Output[Any]) -> dict[str, str]:
    """The tags that Dagster gives a selected output: without them it would call this one stale."""
    asset = dg.AssetKey(output.output_name)
    tags = provenance.tags(context.instance, context.assets_def, asset)
    if output.data_version:
        tags["dagster/data_version"] = output.data_version.value
        tags["dagster/data_version_is_user_provided"] = "true"
    return tags
