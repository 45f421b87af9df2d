"""Photos as written by phones: HEIC, WebP, AVIF and JPEG, with place and time in EXIF."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.foreign import PICTURES

MARK = "SECRETGPS48.8584N2.2945E"
"""A text that is also in the metadata of the HEIC files."""

GPS, MAP_DATUM, ORIENTATION, MAKER = 0x8825, 0x12, 0x0112, 0x010F


def write_photos(folder: Path, sample: Path) -> list[str]:
    """Ten photos, by their names: three HEIC, two WebP, two AVIF, three JPEG of which one is large.

    Args:
        folder: the target folder.
        sample: the pictures to encode.
    """
    folder.mkdir(parents=True)
    shown = [Image.open(file) for file in sorted((sample / "Test").glob("*/*.jpg"))[::7]]
    for number, name in enumerate(("phone", "large")):
        shutil.copyfile(PICTURES / f"{name}.heic", folder / f"IMG_000{number}.HEIC")
    shutil.copyfile(PICTURES / "phone.heic", folder / "IMG_0002.heic")
    photos = {
        "a.webp": encoded(shown[0], "WEBP", quality=80),
        "b.webp": encoded(shown[1].resize((1500, 1300)), "WEBP"),
        "c.avif": encoded(shown[2], "AVIF"),
        "d.AVIF": encoded(shown[3].resize((1300, 1500)), "AVIF", speed=10),
        "e.jpg": encoded(shown[4], "JPEG"),
        "f.jpeg": encoded(shown[5], "JPEG", comment=MARK.encode(), icc_profile=MARK.encode()),
        "PXL_0001.jpg": photo_of_12_megapixels(shown[6]),
    }
    for name, content in photos.items():
        (folder / name).write_bytes(content)
    return sorted(path.name for path in folder.iterdir())


def encoded(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    """A picture with EXIF: a rotation and a place."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER], exif[GPS] = 6, MARK, {MAP_DATUM: MARK}
    content = io.BytesIO()
    picture.save(content, file_format, exif=exif, **options)
    return content.getvalue()


def photo_of_12_megapixels(picture: Image.Image) -> bytes:
    """An enlarged picture with sensor noise."""
    large = np.asarray(picture.convert("RGB").resize((4032, 3024), Image.Resampling.BICUBIC))
    grain = np.random.default_rng(1).normal(0, 4, (3024, 4032, 1))
    noisy = np.clip(large + grain, 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(noisy), "JPEG", quality=90)
