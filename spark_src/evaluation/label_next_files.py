"""Which photos to label next, by the tables that are current."""

from __future__ import annotations

import pandas as pd
import pyarrow.compute as pc

from spark_src.errors import ClassifierError
from spark_src.evaluation.classifier_files import load_head
from spark_src.evaluation.label_next import choose
from spark_src.pca.sums import fit_split
from spark_src.tables.delta import Tables
from spark_src.tables.reading import read_rows
from spark_src.tables.statistics import ClassifierStatistics, ComponentsStatistics
from spark_src.tables.vectors import float_matrix


def unlabelled(tables: Tables, most: int = 50) -> pd.DataFrame:
    """The unlabelled photos that are worth a label most: see `label_next.choose`.

    Raises:
        ClassifierError: there is no classifier, or it is of another PCA than the components.
        NothingStoredError: an asset was never made.
    """
    components, classifier = tables.current("pca_components"), tables.current("fruit_classifier")
    known, head = components.typed(ComponentsStatistics), load_head(classifier)
    if classifier.typed(ClassifierStatistics).pca_model != known.pca_model:
        raise ClassifierError(
            "The classifier is of another PCA model than the components. Make it anew with: "
            "uv run dagster asset materialize --select fruit_classifier"
        )
    table = read_rows(components, ["path", "image_id", "split", "label", "pca"])
    without = pc.is_null(table["label"])
    learnt = pc.invert(without)
    split = fit_split(tables.current("mobilenet_features"))
    if split is not None:
        learnt = pc.and_(learnt, pc.fill_null(pc.equal(table["split"], split), False))
    asked = table.filter(without)
    vectors, taught = (
        float_matrix(rows["pca"], known.n_components) for rows in (asked, table.filter(learnt))
    )
    images = asked.select(["path", "image_id"]).to_pandas()
    return choose(images, vectors, taught, head, most)
