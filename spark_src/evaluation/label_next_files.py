"""Selects photos to label next from the current tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from spark_src.errors import ClassifierError
from spark_src.evaluation.classifier_files import load_head
from spark_src.evaluation.label_next import MOST, choose
from spark_src.pca.sums import fit_split
from spark_src.tables.csv import for_spreadsheets
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.reading import read_rows
from spark_src.tables.registry import FRUIT_CLASSIFIER, MOBILENET_FEATURES, PCA_COMPONENTS
from spark_src.tables.schemas import KEYS
from spark_src.tables.statistics import ClassifierStatistics, ComponentsStatistics
from spark_src.tables.vectors import float_matrix

if TYPE_CHECKING:
    import pandas as pd


def unlabelled(tables: Tables, most: int = MOST) -> pd.DataFrame:
    """The unlabelled photos most worth labelling: see `label_next.choose`.

    Raises:
        ClassifierError: there is no classifier, or it uses another PCA than the components.
        NothingStoredError: an asset was never materialized.
    """
    features, components = tables.current(MOBILENET_FEATURES), tables.current(PCA_COMPONENTS)
    return unlabelled_of(features, components, tables.current(FRUIT_CLASSIFIER), most)


def unlabelled_of(
    features: Snapshot, components: Snapshot, classifier: Snapshot, most: int = MOST
) -> pd.DataFrame:
    """Like `unlabelled`, for given versions.

    Raises:
        ClassifierError: there is no classifier, or it uses another PCA than the components.
    """
    known, head = components.typed(ComponentsStatistics), load_head(classifier)
    if classifier.typed(ClassifierStatistics).pca_model != known.pca_model:
        raise ClassifierError(
            "The classifier uses another PCA model than the components. Update it with: "
            "uv run fruits run --select fruit_classifier"
        )
    table = read_rows(components, [*KEYS, "pca"])
    is_unlabelled = pc.is_null(table["label"])
    is_training = pc.invert(is_unlabelled)
    split = fit_split(features)
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


def list_content(photos: pd.DataFrame) -> bytes:
    """The list as CSV, with an empty column `label` to fill in."""
    return for_spreadsheets(photos.assign(label=""))
