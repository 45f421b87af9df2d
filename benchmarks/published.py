"""The baseline: the method of the published notebook, without its downloads."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pandas as pd
from PIL import Image
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from fruits_assets.settings import IMAGENET_WEIGHTS

STACK = 1024
"""Images per call of `model.predict`: the records of an Arrow batch."""


def features(spark: SparkSession, images: DataFrame, partitions: int = 20) -> DataFrame:
    """MobileNetV2 features by a pandas UDF: Pillow, 1,024-image stacks into `model.predict`.

    Args:
        spark: the session; `maxRecordsPerBatch` is set to 1,024, as in the notebook.
        images: rows with the picture files in a column `content`.
        partitions: the notebook repartitions its images to 20.
    """
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(STACK))
    weights = str(IMAGENET_WEIGHTS)

    def preprocess(content: bytes) -> np.ndarray:
        from tensorflow.keras.applications.mobilenet_v2 import preprocess_input
        from tensorflow.keras.preprocessing.image import img_to_array

        picture = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224))
        return np.asarray(preprocess_input(img_to_array(picture)))

    @F.pandas_udf("array<float>")  # type: ignore[attr-defined, call-overload, untyped-decorator]
    def featurize(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        from tensorflow.keras.applications.mobilenet_v2 import MobileNetV2

        model = MobileNetV2(
            weights=weights, include_top=False, pooling="avg", input_shape=(224, 224, 3)
        )
        for contents in batches:
            stack = np.stack([preprocess(content) for content in contents])
            predictions = model.predict(stack, verbose=0)
            yield pd.Series([row.flatten() for row in predictions])

    return images.repartition(partitions).select("path", featurize("content").alias("features"))


def pca(features: DataFrame, n_components: int) -> DataFrame:
    """Components by a row-wise Python UDF, StandardScaler and `pyspark.ml` PCA."""
    to_vector = F.udf(Vectors.dense, VectorUDT())
    vectors = features.select("path", to_vector("features").alias("vectors"))
    scaler = StandardScaler(
        inputCol="vectors", outputCol="scaled", withMean=True, withStd=True
    ).fit(vectors)
    scaled = scaler.transform(vectors)
    model = PCA(k=n_components, inputCol="scaled", outputCol="pca").fit(scaled)
    return model.transform(scaled).select("path", "pca")
