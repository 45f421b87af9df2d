"""Deterministic mutations of valid pictures; the kind names the damage.

`bombs` has files that are large or slow when decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz import foreign
from tests.fuzz.bombs import BOMBS
from tests.fuzz.containers import (
    END_OF_JPEG,
    Random,
    after_start,
    chunks,
    encoded,
    gradient,
    header,
    pick,
    png_of,
    positions,
    segment,
)

SEED = 360
BOMB_EVERY = 50
"""One in this many mutants is a bomb, as they take a second each."""

LARGEST_SEED = 200_000


@dataclass(frozen=True)
class Mutant:
    """A file for ingest."""

    name: str
    kind: str
    content: bytes


def seeds(folders: Sequence[Path]) -> list[bytes]:
    """Real pictures from folders, and synthetic ones of every format and mode."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    real = [path.read_bytes() for path in files if path.stat().st_size <= LARGEST_SEED]
    exif = Image.Exif()
    exif[0x0112] = 6
    jpegs = [
        encoded(gradient(mode), "JPEG", quality=90, **options)
        for mode in ("L", "RGB", "CMYK")
        for options in ({}, {"progressive": True}, {"exif": exif, "restart_marker_blocks": 1})
    ]
    pngs = [encoded(gradient(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    deep = Image.fromarray(np.arange(2500, dtype=np.uint16).reshape(50, 50))
    clear = encoded(gradient("P"), "PNG", transparency=3)
    return [*real, *jpegs, *pngs, clear, encoded(deep, "PNG"), *foreign.seeds()]


def mutants(
    originals: Sequence[bytes], count: int, megapixels: float = 50, seed: int = SEED
) -> Iterator[Mutant]:
    """Yield `count` mutants, cycling through the kinds; bombs grow with `megapixels`."""
    kinds, bombs = list(KINDS), list(BOMBS)
    for number in range(count):
        random = np.random.default_rng([seed, number])
        turn, rest = divmod(number, BOMB_EVERY)
        if rest == BOMB_EVERY - 1:
            kind = bombs[turn % len(bombs)]
            content = BOMBS[kind](random, megapixels)
        else:
            kind = kinds[(number - turn) % len(kinds)]
            content = KINDS[kind](random, originals)
        yield Mutant(f"{number:06}-{kind}.jpg", kind, content)


def _any(random: Random, originals: Sequence[bytes]) -> bytes:
    return originals[int(random.integers(len(originals)))]


def _jpeg(random: Random, originals: Sequence[bytes]) -> bytes:
    return _any(random, [data for data in originals if data.startswith(b"\xff\xd8")])


def _png(random: Random, originals: Sequence[bytes]) -> bytes:
    return _any(random, [data for data in originals if data.startswith(b"\x89PNG")])


def _untouched(random: Random, originals: Sequence[bytes]) -> bytes:
    return _any(random, originals)


def _truncated(random: Random, originals: Sequence[bytes]) -> bytes:
    data = _any(random, originals)
    return data[: int(random.integers(len(data)))]


def _truncated_but_ended(random: Random, originals: Sequence[bytes]) -> bytes:
    data = _jpeg(random, originals)
    return data[: int(random.integers(2, len(data)))] + END_OF_JPEG


def _flipped(random: Random, data: bytes, first: int, last: int, flips: int) -> bytes:
    mutated = bytearray(data)
    for position in random.integers(first, min(last, len(data)), flips):
        mutated[position] = int(random.integers(256))
    return bytes(mutated)


def _flipped_bytes(random: Random, originals: Sequence[bytes]) -> bytes:
    data = _any(random, originals)
    return _flipped(random, data, 0, len(data), int(random.integers(1, 50)))


def _flipped_header(random: Random, originals: Sequence[bytes]) -> bytes:
    return _flipped(random, _any(random, originals), 2, 700, int(random.integers(1, 8)))


def _moved_block(random: Random, originals: Sequence[bytes]) -> bytes:
    data = _any(random, originals)
    start, end, target = sorted(random.integers(0, len(data), 3).tolist())
    return data[:start] + data[end:target] + data[start:end] * int(random.integers(3)) + data[end:]


def _blank_run(random: Random, originals: Sequence[bytes]) -> bytes:
    data = _any(random, originals)
    start, end = sorted(random.integers(0, len(data), 2).tolist())
    return data[:start] + bytes([pick(random, [0, 255, 127])]) * (end - start) + data[end:]


def _spliced(random: Random, originals: Sequence[bytes]) -> bytes:
    head, tail = _any(random, originals), _any(random, originals)
    return head[: int(random.integers(len(head)))] + tail[int(random.integers(len(tail))) :]


def _renamed(random: Random, originals: Sequence[bytes]) -> bytes:
    signatures = [b"%PDF-1.7\n", b"PK\x03\x04", b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", b"BM"]
    formats = ("GIF", "WEBP", "BMP", "TIFF", "AVIF", "ICO", "PPM", "TGA")
    form = int(random.integers(len(formats) + len(signatures) + 1))
    if form < len(formats):
        data = encoded(gradient(), formats[form])
        return data[: int(random.integers(1, len(data) + 1))]
    more = _any(random, originals)[int(random.integers(20)) :]
    return ([*signatures, b""])[form - len(formats)] + more


def _sizes(random: Random) -> tuple[int, int]:
    edge = (0, 1, 2, 255, 256, 10_000, 32_768, 65_500, 65_535)
    return pick(random, edge), pick(random, edge)


def _jpeg_dimensions(random: Random, originals: Sequence[bytes]) -> bytes:
    data = bytearray(_jpeg(random, originals))
    frames = [place for code in (0xC0, 0xC1, 0xC2) for place in positions(bytes(data), code)]
    if frames:
        struct.pack_into(">HH", data, frames[0] + 5, *_sizes(random))
    return bytes(data)


def _jpeg_coding(random: Random, originals: Sequence[bytes]) -> bytes:
    """A wrong coding process for the data: progressive, lossless, arithmetic, other sampling."""
    data = bytearray(_jpeg(random, originals))
    frames = [place for code in (0xC0, 0xC2) for place in positions(bytes(data), code)]
    if frames and frames[0] + 20 < len(data):
        codes = [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCF]
        data[frames[0] + 1] = pick(random, codes)
        if random.random() < 0.3:
            data[frames[0] + 9] = int(random.integers(6))
        if random.random() < 0.5:
            data[frames[0] + 11] = pick(random, [0x11, 0x12, 0x21, 0x22, 0x41, 0x44, 0x00, 0xFF])
    return bytes(data)


def _jpeg_tables(random: Random, originals: Sequence[bytes]) -> bytes:
    marker = pick(random, [0xC4, 0xDB, 0xCC, 0xDD, 0xDA, 0xDC])
    payload = random.bytes(pick(random, [0, 1, 17, 65, 600, 65_533]))
    extra = segment(marker, payload) * int(random.integers(1, 5))
    return after_start(_jpeg(random, originals), extra)


def _jpeg_metadata(random: Random, originals: Sequence[bytes]) -> bytes:
    """EXIF directories that point to each other or outside, and other application data."""
    order = pick(random, ["<", ">"])
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    entries = [
        struct.pack(
            order + "HHLL",
            pick(random, [0x8769, 0x8825, 0xA005, 0x0112, 0x014A]),
            int(random.integers(14)),
            pick(random, [0, 1, 2**31, 2**32 - 1]),
            pick(random, [0, 8, 10, 26, 2**32 - 1]),
        )
        for _ in range(int(random.integers(1, 4000)))
    ]
    count = struct.pack(order + "H", pick(random, [len(entries), 0, 65_535]))
    exif = b"Exif\0\0" + start + count + b"".join(entries) + struct.pack(order + "L", 8)
    forms = [
        segment(0xE1, exif[:65_533]),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"tiff:Orientation='" * 3000),
        segment(0xE2, b"ICC_PROFILE\0" + random.bytes(40)) * 300,
        segment(0xE2, b"MPF\0" + exif[6:60_000]),
        segment(0xEE, b"Adobe" + random.bytes(7)),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 9000),
    ]
    extra = forms[int(random.integers(len(forms)))] * int(random.integers(1, 4))
    return after_start(_jpeg(random, originals), extra)


def _png_header(random: Random, originals: Sequence[bytes]) -> bytes:
    data = _png(random, originals)
    sides = (1, 48, 60_000, 2**31 - 1, 2**32 - 1, 0)
    width, height = (pick(random, sides) for _ in range(2))
    if random.random() < 0.5:
        width, height = (int(side) for side in struct.unpack_from(">LL", data, 16))
    depth, colour = pick(random, [1, 2, 4, 8, 16, 3]), int(random.integers(8))
    return header(width, height, depth, colour, int(random.integers(3))) + data[33:]


def _png_chunks(random: Random, originals: Sequence[bytes]) -> bytes:
    """Chunks removed, duplicated, moved or changed, with correct checksums."""
    parts = chunks(_png(random, originals))
    for _ in range(int(random.integers(1, 4))):
        place, other = (int(number) for number in random.integers(0, len(parts), 2))
        kind, payload = parts[place]
        changes: list[Callable[[], None]] = [
            lambda place=place: parts.__delitem__(place),
            lambda place=place: parts.insert(place, parts[place]),
            lambda place=place, other=other: parts.insert(other, parts.pop(place)),
            lambda place=place, kind=kind, payload=payload: parts.__setitem__(
                place, (kind, _flipped(random, payload, 0, len(payload), 3) if payload else b"\0")
            ),
        ]
        changes[int(random.integers(len(changes)))]()
        if not parts:
            break
    return png_of(parts)


def _png_extras(random: Random, originals: Sequence[bytes]) -> bytes:
    kinds = (b"tRNS", b"PLTE", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"acTL", b"fcTL")
    extra = [
        (bytes(kinds[int(random.integers(len(kinds)))]), random.bytes(int(random.integers(800))))
        for _ in range(int(random.integers(1, 4)))
    ]
    first, *rest = chunks(_png(random, originals))
    return png_of([first, *extra, *rest])


KINDS: dict[str, Callable[[Random, Sequence[bytes]], bytes]] = {
    "untouched": _untouched,
    "truncated": _truncated,
    "truncated_but_ended": _truncated_but_ended,
    "flipped_bytes": _flipped_bytes,
    "flipped_header": _flipped_header,
    "moved_block": _moved_block,
    "blank_run": _blank_run,
    "spliced": _spliced,
    "renamed": _renamed,
    "jpeg_dimensions": _jpeg_dimensions,
    "jpeg_coding": _jpeg_coding,
    "jpeg_tables": _jpeg_tables,
    "jpeg_metadata": _jpeg_metadata,
    "png_header": _png_header,
    "png_chunks": _png_chunks,
    "png_extras": _png_extras,
    **foreign.KINDS,
}
