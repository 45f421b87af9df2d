"""Materialize all assets of a multi-asset op, even when only some of them are selected."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from fruits_assets import materialization
from fruits_assets.io_managers import DeltaIOManager


def selected_outputs(
    context: dg.AssetExecutionContext,
    outputs: Iterator[dg.Output[Any]],
    io_manager: DeltaIOManager,
) -> Iterator[dg.Output[Any]]:
    """Yield the selected outputs; store and report the others here.

    Dagster refuses outputs that were not selected, but `rejected_images` without the `raw_images`
    of the same listing would break the accounting.
    """
    for output in outputs:
        if output.output_name in context.op_execution_context.selected_output_names:
            yield output
            continue
        code_version = context.assets_def.specs_by_key[dg.AssetKey(output.output_name)].code_version
        stored = io_manager.store(output.value, context, code_version or "")
        event = materialization.event(context.instance, context.assets_def, output, stored)
        context.log_event(event)
