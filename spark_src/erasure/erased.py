"""The list of what was erased, as salted hashes: by it a restored backup is erased again.

It lies beside the receipts, an entry a file. Nobody can be read from it; who has a name can ask
whether it is there.
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
"""How the files of the list end. They begin as receipts do, which can be put once, and by nobody be
overwritten or deleted: see infra/bucket_policies.tf."""

_SALT_BYTES = 32
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
"""20 ms a name: pseudonyms are short, and somebody may have the list and try all of them."""


@dataclass(frozen=True)
class Entry:
    """What one request has erased."""

    salt: bytes
    """The same in all entries of a list, so that each name is hashed once to look for it."""
    subject: str | None
    image_ids: frozenset[str]


def folder_of(tables: Tables) -> Location:
    """Where the list of a storage lies."""
    return tables.root / FOLDERS["erasures"]


def note(tables: Tables, request: str, target: Target) -> None:
    """Add to the list what a request has erased; once, however often it is called.

    Args:
        tables: the storage.
        request: its name, which is not the person's.
        target: whose data.
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
    file.create(json.dumps(content, indent=2).encode())  # as receipts: never over another one


def load(folder: Location) -> list[Entry]:
    """The list in a folder.

    Raises:
        ErasureError: an entry cannot be read.
    """
    files = [info for info in folder.files() if info.base_name.endswith(ENTRY)]
    return [_read(Location(folder.scheme, info.path)) for info in files]


def find(entries: Iterable[Entry], subjects: Iterable[str], ids: Iterable[str]) -> list[Target]:
    """Who, of those that are there, and which pictures were erased before."""
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
        one for one in ids if any((salt, _hash_id(salt, one)) in pictures for salt in with_pictures)
    )
    targets = [Target(name, frozenset()) for name in names]
    return [*targets, Target(None, found, all_owners=True)] if found else targets


def _read(file: Location) -> Entry:
    try:
        kept = json.loads(file.read())
        return Entry(bytes.fromhex(kept["salt"]), kept["subject"], frozenset(kept["image_ids"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ErasureError(
            f"{file} is no entry of the list of what was erased ({error!r}). Restore it from a "
            "copy, or delete it: what it names is not erased again then."
        ) from error


def _hash_name(salt: bytes, name: str) -> str:
    return hashlib.scrypt(name.encode(), salt=salt, **_SCRYPT, dklen=32).hex()


def _hash_id(salt: bytes, image_id: str) -> str:
    return hmac.new(salt, image_id.encode(), hashlib.sha256).hexdigest()
