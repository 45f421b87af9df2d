"""`mobilenet_model`: the one file that workers and phones run, made on the host."""

import time

import dagster as dg

from fruits_assets import catalog
from fruits_assets.resources import AssetStorage
from spark_src.features import files
from spark_src.features.model import convert, converter, weights_sha256
from spark_src.io.locations import Location
from spark_src.tables.change import Change
from spark_src.tables.delta import TableWrite
from spark_src.tables.registry import MOBILENET_MODEL


@catalog.MOBILENET_MODEL.asset()
def mobilenet_model(
    context: dg.AssetExecutionContext, storage: AssetStorage, weights: dg.ResourceParam[Location]
) -> dg.Output[Change]:
    """MobileNetV2 without its top as one LiteRT file, which workers and phones run.

    Converted from the Keras weights that FRUITS_WEIGHTS names, and compared with Keras. The file is
    kept while weights and converter are the same.
    """
    write = storage.tables.begin(MOBILENET_MODEL, context.run.run_id)
    change = model_change(write, weights)
    version = dg.DataVersion(change.digest)
    return dg.Output(change, data_version=version, metadata={"weights": str(weights)})


def model_change(write: TableWrite, weights: Location) -> Change:
    """The converted model, unless the current one was made from the same weights."""
    started = time.monotonic()
    if files.is_unchanged(write.before, weights_sha256(weights), converter()):
        return Change.none(write)
    model = convert(weights)
    name = files.save(model, write.location)
    return Change(write, files.statistics(model, converter(), name), started=started)
