"""UI previews of the evaluation assets: duplicate pairs, confusions, doubtful labels."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from fruits_assets.metadata import Metadata
from fruits_assets.previews import Gallery, hidden, image, table_of
from spark_src.evaluation import classifier_files, health_files, label_issue_files
from spark_src.images.layout import split_and_label
from spark_src.tables.delta import Snapshot
from spark_src.tables.pictures import read_pictures
from spark_src.tables.registry import RAW_IMAGES

if TYPE_CHECKING:
    import pandas as pd

PAIRS, CONFUSED, ISSUES = 24, 10, 50
"""Maximum number of duplicate pairs, labels and doubtful images shown."""


def _may_show(gallery: Gallery, path: str) -> bool:
    return gallery.may_show({"path": path, "split": split_and_label(path)[0]})


def data_health(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """The worst pairs side by side, those with two labels first."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    findings = health_files.load(snapshot, health_files.FINDINGS)
    order = findings["crosses"].map(lambda crosses: "label" not in crosses).argsort(kind="stable")
    every = findings.iloc[order][["path", "other_path"]].itertuples(index=False, name=None)
    shown = (pair for pair in every if all(_may_show(gallery, path) for path in pair))
    pairs = list(islice(shown, PAIRS))
    images = gallery.tables.find(RAW_IMAGES)
    rows = read_pictures(images, {path for pair in pairs for path in pair}) if images else {}
    stored = [pair for pair in pairs if rows.keys() >= set(pair)]
    if not stored:
        return {"duplicates, side by side": hidden()} if len(findings) else {}
    sheet = [
        plots.Captioned(
            rows[path]["content"],
            rows[path]["orientation"],
            (
                rows[path]["label"] or "(none)",
                f"pair {number}, {rows[path]['split'] or 'no split'}",
            ),
        )
        for number, pair in enumerate(stored, start=1)
        for path in pair
    ]
    return {"duplicates, side by side": image(plots.captioned_sheet(sheet, 6), "duplicates")}


def fruit_classifier(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """The most confused labels, and the labels with the lowest accuracy."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    of_labels = [
        answer
        for answer in classifier_files.load_evaluation(snapshot)
        if answer["question"] == "fruit"
        or (gallery.show_photos and answer["question"] != "kind of fruit")
    ]
    if not of_labels:
        return {}
    answer = of_labels[0]
    shares = [(label, share) for label, (_, share) in answer["per_class"].items()]
    worst = sorted(shares, key=lambda item: (item[1], item[0]))[:CONFUSED]
    drawn = plots.confusions(answer["confusions"], worst)
    return {"most confused labels": image(drawn, "labels that are confused")}


def label_issues(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """The labels that are most likely wrong, and the photos to label next, as pictures."""
    every = label_issue_files.load(snapshot)
    issues = every[every["issue"]]
    found = _doubtful(gallery, issues) if len(issues) else {}
    to_label = label_issue_files.load(snapshot, label_issue_files.TO_LABEL)
    return found | (_photos_to_label(gallery, to_label) if len(to_label) else {})


def _doubtful(gallery: Gallery, issues: pd.DataFrame) -> Metadata:
    from spark_src import plots  # Matplotlib takes 0.7 s

    rows, pictures = _shown(gallery, issues)
    if not pictures:
        return {"doubtful labels and suggestions": hidden()}
    columns = ("path", "label", "suggested")  # more would not fit the page
    sheet = [
        plots.Captioned(
            picture["content"],
            picture["orientation"],
            (row["label"], f"suggested: {row['suggested']}"),
        )
        for row in rows
        if (picture := pictures.get(row["path"]))
    ]
    return {
        "doubtful labels and suggestions": image(
            plots.captioned_sheet(sheet), "label and suggested label"
        ),
        "doubtful labels": table_of(
            [
                {name: row[name] for name in columns} | {"score": round(row["score"], 3)}
                for row in rows
            ]
        ),
    }


def _photos_to_label(gallery: Gallery, every: pd.DataFrame) -> Metadata:
    from spark_src import plots  # Matplotlib takes 0.7 s

    rows, pictures = _shown(gallery, every)
    if not pictures:
        return {"photos to label": hidden()}
    sheet = [
        (f"{row['suggested']}?", picture["content"], picture["orientation"])
        for row in rows
        if (picture := pictures.get(row["path"]))
    ]
    return {"photos to label": image(plots.contact_sheet(sheet, 10), "with the likeliest label")}


def _shown(
    gallery: Gallery, every: pd.DataFrame
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The first rows that may be shown, and their pictures by path."""
    records = every.to_dict("records")
    rows = list(islice((row for row in records if _may_show(gallery, row["path"])), ISSUES))
    images = gallery.tables.find(RAW_IMAGES)
    if not rows or images is None:
        return rows, {}
    return rows, read_pictures(images, [row["path"] for row in rows])
