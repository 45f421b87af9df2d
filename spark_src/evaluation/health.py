"""Derives duplicate groups, split leaks and label contradictions from pairs. No files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spark_src.images.layout import is_photo, person_of

CROSSINGS = ("split", "label", "person")
"""Attributes in which duplicates should not differ."""

PAIR = ["first", "second", "cosine"]
FINDING = ["path", "other_path", "image_id", "other_image_id", "cosine", "exact", "crosses"]
GROUPED = ["group", "path", "image_id", "split", "label"]


@dataclass(frozen=True, eq=False)
class Health:
    """Data health of a version of `mobilenet_features`."""

    images: int
    """Number of paths. A picture stored under two paths counts twice."""
    pairs: pd.DataFrame
    """Near duplicates: first, second (image ids), cosine."""
    groups: pd.DataFrame
    """Paths that have a duplicate, exact or near: group, path, image_id, split, label."""
    findings: pd.DataFrame
    """Pairs that cross splits, labels or persons, the worst first: columns as in `FINDING`."""
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
        return len(set(self.pairs["first"]) | set(self.pairs["second"]))

    @property
    def n_groups(self) -> int:
        """Number of duplicate groups."""
        return int(self.groups["group"].nunique())

    def crossing(self, attribute: str, exact: bool) -> pd.DataFrame:
        """The findings whose pictures differ in this attribute."""
        found = self.findings
        named = [
            crosses for crosses in found["crosses"].unique() if attribute in crosses.split(", ")
        ]
        return found[found["crosses"].isin(named) & (found["exact"] == exact)]


def health(keys: pd.DataFrame, pairs: pd.DataFrame) -> Health:
    """Analyze the duplicates.

    Args:
        keys: path, image_id, split and label of each image.
        pairs: near duplicates among them: first, second (image ids), cosine.
    """
    keys = keys.sort_values("path", ignore_index=True)
    keys["person"] = keys["path"].map(person_of)
    groups = _groups(keys, pairs)
    exact, near = _exact_findings(keys), _near_findings(keys, pairs)
    findings = (
        pd.concat([exact, near]) if len(exact) and len(near) else exact if len(exact) else near
    )
    findings["order"] = findings["crosses"].map(lambda crosses: "label" not in crosses)
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
        groups=groups,
        findings=findings[FINDING],
        labels=dict(sorted(labels.items())),
        near_share=_near_share(of_data_set, pairs),
    )


def _groups(keys: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Connected components of the pairs, numbered by their first paths."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components  # 0.3 s

    ids, codes = np.unique(keys["image_id"], return_inverse=True)
    ends = [np.searchsorted(ids, pairs[side]) for side in ("first", "second")]
    graph = coo_array((np.ones(len(pairs), bool), ends), shape=(len(ids), len(ids)))
    component = connected_components(graph, directed=False)[1][codes]
    sizes = np.bincount(component)
    grouped = keys.assign(group=component)[sizes[component] > 1]
    grouped["group"] = pd.factorize(grouped["group"])[0]
    return grouped.sort_values(["group", "path"], ignore_index=True)[GROUPED]


def _exact_findings(keys: pd.DataFrame) -> pd.DataFrame:
    """Paths of a picture that differ from its first path in split, label or person."""
    several = keys[keys.duplicated("image_id", keep=False)]
    firsts = several.drop_duplicates("image_id")
    both = several.merge(firsts, on="image_id", suffixes=("_b", "_a"))
    both = both[both["path_a"] != both["path_b"]].assign(cosine=1.0)
    both["image_id_a"] = both["image_id_b"] = both["image_id"]
    return _crossing(both, exact=True)


def _near_findings(keys: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    firsts = keys.drop_duplicates("image_id")
    both = pairs.merge(firsts, left_on="first", right_on="image_id")
    both = both.merge(firsts, left_on="second", right_on="image_id", suffixes=("_a", "_b"))
    return _crossing(both, exact=False)


def _crossing(both: pd.DataFrame, exact: bool) -> pd.DataFrame:
    """The pairs that differ, with the attributes. Missing values never differ."""
    crosses = pd.Series("", index=both.index, dtype=object)
    for attribute in CROSSINGS:
        one, other = both[f"{attribute}_a"], both[f"{attribute}_b"]
        differs = one.notna() & other.notna() & (one != other)
        crosses = crosses.where(~differs, crosses + f", {attribute}")
    both = both.assign(crosses=crosses.str.removeprefix(", "), exact=exact)[crosses != ""]
    names = {"path_a": "path", "path_b": "other_path"}
    names |= {"image_id_a": "image_id", "image_id_b": "other_image_id"}
    kept = [*names, "cosine", "exact", "crosses"]
    return both[kept].rename(columns=names)


def _near_share(keys: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, float]:
    label = keys.drop_duplicates("image_id").set_index("image_id")["label"]
    one, other = (pairs[side].map(label) for side in ("first", "second"))
    same = pairs[(one == other).to_numpy(bool)] if len(pairs) else pairs
    near = set(same["first"]) | set(same["second"])
    labelled = keys.dropna(subset="label")
    has_near = labelled["image_id"].isin(near)
    shares = has_near.groupby(labelled["label"]).mean()
    return {str(name): float(share) for name, share in shares.items()}
