"""`mobilenet_model`: the one file that workers and phones run, made on the host."""

import time

import dagster as dg

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.resources import ModelWeights
from spark_src.features.model import MobilenetModel, convert


@dg.asset(
    io_manager_key="models",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("model", "host", "none"),
    kinds={"tensorflow", "tflite"},
    code_version="1",
)
def mobilenet_model(weights: ModelWeights) -> dg.Output[MobilenetModel]:
    """MobileNetV2 without its top as one LiteRT file, which workers and phones run.

    Made of the Keras weights that FRUITS_WEIGHTS names, and compared with Keras on the spot.
    """
    started = time.monotonic()
    model = convert(weights.location)
    return dg.Output(
        model,
        data_version=dg.DataVersion(model.sha256),
        metadata={
            "model sha256": model.sha256,
            "weights": str(weights.location),
            "weights sha256": model.weights_sha256,
            "greatest difference to Keras": round(model.greatest_difference, 6),
            "seconds to convert": round(time.monotonic() - started, 2),
        },
    )
