"""Selects photos to label next from the current tables."""

from __future__ import annotations

import pandas as pd
import pyarrow.compute as pc

from spark_src.errors import ClassifierError
from spark_src.evaluation.classifier_files import load_head
from spark_src.evaluation.label_next import choose
from spark_src.pca.sums import fit_split
from spark_src.tables.delta import Tables
from spark_src.tables.reading import read_rows
from spark_src.tables.schemas import KEYS
from spark_src.tables.statistics import ClassifierStatistics, ComponentsStatistics
from spark_src.tables.vectors import float_matrix


def unlabelled(tables: Tables, most: int = 50) -> pd.DataFrame:
    """The unlabelled photos most worth labelling: see `label_next.choose`.

    Raises:
        ClassifierError: there is no classifier, or it uses another PCA than the components.
        NothingStoredError: an asset was never materialized.
    """
    components, classifier = tables.current("pca_components"), tables.current("fruit_classifier")
    known, head = components.typed(ComponentsStatistics), load_head(classifier)
    if classifier.typed(ClassifierStatistics).pca_model != known.pca_model:
        raise ClassifierError(
            "The classifier uses another PCA model than the components. Update it with: "
            "uv run dagster asset materialize --select fruit_classifier"
        )
    table = read_rows(components, [*KEYS, "pca"])
    is_unlabelled = pc.is_null(table["label"])
    is_training = pc.invert(is_unlabelled)
    split = fit_split(tables.current("mobilenet_features"))
    if split is not None:
        in_split = pc.fill_null(pc.equal(table["split"], split), False)
        is_training = pc.and_(is_training, in_split)
    candidates = table.filter(is_unlabelled)
    vectors, training = (
        float_matrix(rows["pca"], known.n_components)
        for rows in (candidates, table.filter(is_training))
    )
    images = candidates.select(["path", "image_id"]).to_pandas()
    return choose(images, vectors, training, head, most)
