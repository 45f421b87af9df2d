"""Derives duplicate groups, split leaks and label contradictions from pairs. No files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spark_src.evaluation.duplicates import Pairs
from spark_src.images.layout import is_photo, person_of

CROSSINGS = ("split", "label", "person")
"""Attributes in which duplicates should not differ."""

FINDING = ["path", "other_path", "image_id", "other_image_id", "cosine", "exact", "crosses"]
GROUPED = ["group", "path", "image_id", "split", "label"]

_CROSSES = np.array(
    [
        ", ".join(name for bit, name in enumerate(CROSSINGS) if number >> bit & 1)
        for number in range(1 << len(CROSSINGS))
    ],
    object,
)
"""Text for each combination of attributes, as bits."""

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Health:
    """Data health of a version of `mobilenet_features`."""

    images: int
    """Number of paths. A picture stored under two paths counts twice."""
    pairs: Pairs
    """Near duplicates, by picture."""
    groups: pd.DataFrame
    """Paths that have a duplicate, exact or near: group, path, image_id, split, label."""
    findings: pd.DataFrame
    """Pairs that cross splits, labels or people, the worst first: columns as in `FINDING`."""
    labels: dict[str, int]
    """Label -> number of images, without those below `photos/`."""
    near_share: dict[str, float]
    """Label -> share of its images with a near duplicate of the same label."""

    @property
    def exact_duplicates(self) -> int:
        """Number of paths beyond the first of each picture."""
        return int(self.groups.duplicated("image_id").sum())

    @property
    def near_duplicates(self) -> int:
        """Number of pictures with a near duplicate."""
        return len(np.union1d(self.pairs.first, self.pairs.second))

    @property
    def n_groups(self) -> int:
        """Number of duplicate groups."""
        return int(self.groups["group"].nunique())

    def crossing(self, attribute: str, exact: bool) -> pd.DataFrame:
        """The findings whose pictures differ in this attribute."""
        found = self.findings
        matching = [
            crosses for crosses in found["crosses"].unique() if attribute in crosses.split(", ")
        ]
        return found[found["crosses"].isin(matching) & (found["exact"] == exact)]

    def n_groups_crossing(self, attribute: str) -> int:
        """Number of groups with several values of this attribute.

        A group can cross without any of its pairs: through a picture that has no label.
        """
        persons = self.groups["path"].map(person_of)
        values = persons if attribute == "person" else self.groups[attribute]
        return int((values.groupby(self.groups["group"]).nunique() > 1).sum())


def health(keys: pd.DataFrame, image_ids: NDArray[np.object_], pairs: Pairs) -> Health:
    """Find duplicates and conflicts between them.

    Args:
        keys: path, image_id, split and label of each image.
        image_ids: the distinct ids among them, sorted: the pictures.
        pairs: near duplicates, as positions in `image_ids`.
    """
    keys = keys.sort_values("path", ignore_index=True)
    keys["person"] = keys["path"].map(person_of)
    # Joins by number take a tenth of the time of joins by id.
    keys["picture"] = pd.Index(image_ids).get_indexer(keys["image_id"])
    shown = _representatives(keys)
    findings = pd.concat([_exact_findings(keys, shown), _near_findings(keys, shown, pairs)])
    findings["order"] = ~findings["crosses"].str.contains("label")
    findings = findings.sort_values(
        ["exact", "order", "cosine", "path", "other_path"],
        ascending=[False, True, False, True, True],
        ignore_index=True,
    )
    # Commits and the UI store these permanently, so they must not contain a person's folder.
    of_data_set = keys[~keys["path"].map(is_photo).astype(bool)]
    labels = Counter(of_data_set["label"].dropna())
    return Health(
        images=len(keys),
        pairs=pairs,
        groups=_groups(keys, pairs, len(image_ids)),
        findings=findings[FINDING],
        labels=dict(sorted(labels.items())),
        near_share=_near_share(of_data_set, pairs, len(image_ids)),
    )


def _groups(keys: pd.DataFrame, pairs: Pairs, pictures: int) -> pd.DataFrame:
    """Connected components of the pairs, numbered by their first paths."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components  # 0.3 s

    edges = (np.ones(len(pairs), bool), (pairs.first, pairs.second))
    graph = coo_array(edges, shape=(pictures, pictures))
    component = connected_components(graph, directed=False)[1][keys["picture"]]
    sizes = np.bincount(component)
    grouped = keys.assign(group=component)[sizes[component] > 1]
    grouped["group"] = pd.factorize(grouped["group"])[0]
    return grouped.sort_values(["group", "path"], ignore_index=True)[GROUPED]


def _representatives(keys: pd.DataFrame) -> Rows:
    """(pictures, at most 4): the first row of each picture, and the first with each attribute.

    The first row alone may have no label, and would hide a conflict between the others.
    """
    first = np.unique(keys["picture"], return_index=True)[1]
    columns = [first]
    for attribute in CROSSINGS:
        known = keys[keys[attribute].notna()].drop_duplicates("picture")
        rows = first.copy()
        rows[known["picture"]] = known.index
        columns.append(rows)
    return np.unique(np.stack(columns), axis=0).T


def _exact_findings(keys: pd.DataFrame, shown: Rows) -> pd.DataFrame:
    """Paths of a picture that differ in split, label or person."""
    others = np.arange(len(keys))
    found = []
    for ones in shown[keys["picture"]].T:
        rows = np.flatnonzero(ones < others)
        found.append(_crossing(keys, ones[rows], others[rows], np.ones(len(rows))))
    return pd.concat(found).drop_duplicates(["path", "other_path"]).assign(exact=True)


def _near_findings(keys: pd.DataFrame, shown: Rows, pairs: Pairs) -> pd.DataFrame:
    """Near duplicates that differ, each with the paths that differ in most attributes."""
    cosine = pairs.cosine.astype(np.float64)
    found = pd.concat(
        _crossing(keys, ones[pairs.first], others[pairs.second], cosine)
        for ones in shown.T
        for others in shown.T
    )
    found = found.iloc[(-found["crosses"].str.count(",")).argsort(kind="stable")]
    return found.drop_duplicates(["image_id", "other_image_id"]).assign(exact=False)


def _crossing(
    keys: pd.DataFrame, one: Rows, other: Rows, cosine: NDArray[np.float64]
) -> pd.DataFrame:
    """The pairs of rows that differ, with the attributes. Missing values never differ."""
    bits = np.zeros(len(one), np.int64)
    for bit, attribute in enumerate(CROSSINGS):
        values = pd.factorize(keys[attribute])[0]  # -1 for missing values
        differs = (values[one] >= 0) & (values[other] >= 0) & (values[one] != values[other])
        bits |= differs.astype(np.int64) << bit
    found = np.flatnonzero(bits)
    columns = {"cosine": cosine[found], "crosses": _CROSSES[bits[found]]}
    for name in ("path", "image_id"):
        texts = keys[name].to_numpy(object)
        columns |= {name: texts[one[found]], f"other_{name}": texts[other[found]]}
    return pd.DataFrame(columns)


def _near_share(keys: pd.DataFrame, pairs: Pairs, pictures: int) -> dict[str, float]:
    firsts = keys.drop_duplicates("picture")
    label = np.full(pictures, -1)
    label[firsts["picture"]] = pd.factorize(firsts["label"])[0]
    same = (label[pairs.first] == label[pairs.second]) & (label[pairs.first] >= 0)
    is_near = np.zeros(pictures, bool)
    is_near[pairs.first[same]] = is_near[pairs.second[same]] = True
    labelled = keys.dropna(subset="label")
    shares = pd.Series(is_near[labelled["picture"]]).groupby(labelled["label"].to_numpy()).mean()
    return {str(name): float(share) for name, share in shares.items()}
