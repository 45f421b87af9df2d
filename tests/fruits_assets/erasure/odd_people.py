"""Forty people with folder names that are hard to erase, and some who are not erased."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image

MARKER = "kp-zq7wvt"
"""Part of every erased person's name, and of no other. Its letters are in no file by chance."""

ODD_NAMES = tuple(
    MARKER + name
    for name in (
        "",  # prefixes of each other
        "a",
        "aa",
        "a-a",
        "a_a",
        "a.a",
        "a b",
        ' "quoted"',
        ' ""doubly""',
        " 'single'",
        "`tick`",
        " | pipe |",
        "](https:evil.example x.png)",
        "![x](y)",
        "<img src=x>",
        "&amp;",
        "=HYPERLINK(1)",
        "*",
        "?",
        "[a-z]",
        "{a,b}",
        "$(id)",
        "%22",
        "%2F",
        "%",
        "\\",
        "\\x41",
        "\\u0041",
        "\\n",
        "\nnewline",
        "\ttab",
        "\r",
        " ",
        unicodedata.normalize("NFC", "José"),
        unicodedata.normalize("NFD", "José2"),
        "Ärger",
        "emoji 😀",
        "a\u200bb",
        "..",
        "-rf",
        "'; drop table runs; --",
        "photos",
    )
)

STAYING = ("zq7-k", "Zq7-kp", "ZQ7-KPa", "ben", "q7-kp", "aa", '"quoted"', "José", "%zQ7-kp")
"""Prefixes, suffixes and case variants of erased names."""


def write_photos(source: Path, n_each: int = 2) -> dict[str, int]:
    """Write photos of all people to an input; return the number of photos per person."""
    for number, name in enumerate((*ODD_NAMES, *STAYING)):
        folder = os.path.join(os.fsencode(source), b"photos", name.encode())
        os.makedirs(folder)
        for count in range(n_each):
            path = os.path.join(folder, f"{count}.png".encode())
            Path(os.fsdecode(path)).write_bytes(_picture(1000 * number + count))
    return dict.fromkeys((*ODD_NAMES, *STAYING), n_each)


def _picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
