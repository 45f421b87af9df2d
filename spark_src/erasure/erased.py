"""The list of erased people and pictures as salted hashes, used to erase restored backups again.

Each entry is a file in the folder of the receipts. Names cannot be read from it, but a known name
can be checked against it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from spark_src.contract import FOLDERS
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables

ENTRY = ".erased"
"""Suffix of the list's files. They share the prefix of receipts, which the bucket policy protects
from being overwritten or deleted: see infra/bucket_policies.tf."""

_SALT_BYTES = 32
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
"""20 ms per name, to slow down brute-force attacks on short pseudonyms."""


@dataclass(frozen=True)
class Entry:
    """The person and pictures erased by one request."""

    salt: bytes
    """The same in all entries of a list, so that a name is hashed once per search."""
    subject: str | None
    image_ids: frozenset[str]


def folder_of(tables: Tables) -> Location:
    """The folder of a storage's list."""
    return tables.root / FOLDERS["erasures"]


def record(tables: Tables, request: str, target: Target) -> None:
    """Add an erased target to the list. Does nothing if the request already has an entry.

    Args:
        tables: the storage.
        request: the request's name, which is unrelated to the person's.
        target: the erased person or pictures.
    """
    folder = folder_of(tables)
    file = folder / f"receipt-{request}{ENTRY}"
    if file.exists():
        return
    known = load(folder)
    salt = known[0].salt if known else secrets.token_bytes(_SALT_BYTES)
    content = {
        "format": 1,
        "erased": datetime.now(UTC).isoformat(timespec="seconds"),
        "salt": salt.hex(),
        "subject": None if target.subject is None else _hash_name(salt, target.subject),
        "image_ids": sorted(_hash_id(salt, image_id) for image_id in target.image_ids),
    }
    if folder.scheme == "file":
        folder.make_folder()
    file.create(json.dumps(content, indent=2).encode())  # like receipts, never overwritten


def load(folder: Location) -> list[Entry]:
    """Load the list from a folder.

    Raises:
        ErasureError: an entry cannot be read.
    """
    files = [info for info in folder.files() if info.base_name.endswith(ENTRY)]
    return [_read(Location(folder.scheme, info.path)) for info in files]


def find(entries: Iterable[Entry], subjects: Iterable[str], ids: Iterable[str]) -> list[Target]:
    """Targets for those of the given people and pictures that were erased before."""
    entries, ids = list(entries), list(ids)
    salts = {entry.salt for entry in entries}
    erased = {(entry.salt, entry.subject) for entry in entries}
    names = [
        name
        for name in sorted(set(subjects))
        if any((salt, _hash_name(salt, name)) in erased for salt in salts)
    ]
    pictures = {(entry.salt, picture) for entry in entries for picture in entry.image_ids}
    with_pictures = {salt for salt, _ in pictures}
    found = frozenset(
        name
        for name in ids
        if any((salt, _hash_id(salt, name)) in pictures for salt in with_pictures)
    )
    targets = [Target(name, frozenset()) for name in names]
    return [*targets, Target(None, found, all_owners=True)] if found else targets


def _read(file: Location) -> Entry:
    try:
        entry = json.loads(file.read())
        return Entry(bytes.fromhex(entry["salt"]), entry["subject"], frozenset(entry["image_ids"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ErasureError(
            f"{file} is not a valid entry of the erasure list ({error!r}). Restore it from a "
            "copy, or delete it: the data it refers to is then not erased again."
        ) from error


def _hash_name(salt: bytes, name: str) -> str:
    return hashlib.scrypt(name.encode(), salt=salt, **_SCRYPT, dklen=32).hex()


def _hash_id(salt: bytes, image_id: str) -> str:
    return hmac.new(salt, image_id.encode(), hashlib.sha256).hexdigest()
