"""Versions of assets: written into a new folder, made current by one small atomic pointer.

A prefix holds `current.json` (the pointer: current and previous version with their facts),
`versions/<version>/` (the data) and `drafts/<version>.json` (who is writing what is not done).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pyarrow import fs

from spark_src import drafts, pointers
from spark_src.contract import PREFIXES
from spark_src.errors import (
    ConcurrentWriteError,
    NothingStoredError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.io.locations import Location

FORMAT = 1
"""Of the pointer and of what it points to. Code refuses a higher number than it knows."""


@dataclass(frozen=True)
class Version:
    """One finished version of an asset and the small facts that were measured on it."""

    asset: str
    name: str
    location: Location
    run_id: str
    written_at: str
    files: int
    bytes: int
    facts: dict[str, Any]

    @property
    def rows(self) -> int:
        """How many rows the version's table has."""
        return int(self.facts["rows"])

    def record(self) -> dict[str, Any]:
        """What the pointer keeps of this version."""
        kept = ("name", "run_id", "written_at", "files", "bytes", "facts")
        return {key: value for key, value in asdict(self).items() if key in kept}


@dataclass(frozen=True)
class Draft:
    """A version being written. `replaces` is the version that was current when it began."""

    asset: str
    name: str
    location: Location
    run_id: str
    replaces: str | None


class Storage:
    """The assets' versions under one root."""

    def __init__(self, root: Location) -> None:
        self.root = root
        self._fs = root.filesystem

    def __repr__(self) -> str:
        return f"Storage({self.root})"

    def prefix(self, asset: str) -> Location:
        """The folder of one asset.

        Raises:
            StorageError: no asset has that name.
        """
        if asset not in PREFIXES:
            raise StorageError(f"There is no asset {asset!r}; there are {', '.join(PREFIXES)}.")
        return self.root / PREFIXES[asset]

    def find(self, asset: str) -> Version | None:
        """The current version, or None where nothing was ever made."""
        record = self._pointer(asset).get("current")
        return self._version(asset, record) if record else None

    def kept(self, asset: str) -> list[Version]:
        """The current version and the one before it, as far as there are such."""
        pointer = self._pointer(asset)
        records = [pointer.get("current"), pointer.get("previous")]
        return [self._version(asset, record) for record in records if record]

    def latest(self, asset: str) -> Version:
        """The current version, for its facts: whether its files are there is not looked at.

        Raises:
            NothingStoredError: nothing was made yet.
            UnreadableVersionError: newer code wrote it.
        """
        version = self.find(asset)
        if version is None:
            raise NothingStoredError(
                f"{asset} has no current version under {self.prefix(asset)}. Make it with: "
                f"uv run dagster asset materialize --select '*{asset}'"
            )
        return version

    def current(self, asset: str) -> Version:
        """The current version, to be read.

        Raises:
            NothingStoredError: nothing was made yet.
            UnreadableVersionError: newer code wrote it, or its files are gone.
        """
        version = self.latest(asset)
        if not version.location.exists():
            raise UnreadableVersionError(
                f"{asset}: {self.prefix(asset)}/current.json names version {version.name}, but "
                f"{version.location} is gone. Make a new one with: "
                f"uv run dagster asset materialize --select '{asset}'"
            )
        return version

    def begin(self, asset: str, run_id: str) -> Draft:
        """Open a new version folder; clear away what dead runs left half-written."""
        self._remove_leftovers(asset, run_id)
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S.%fZ}-{run_id[:8]}"
        current = self.find(asset)
        location = self.prefix(asset) / "versions" / name
        pointers.write(self._draft_file(asset, name), _json(drafts.writer(run_id, now)))
        self._fs.create_dir(location.path, recursive=True)
        return Draft(asset, name, location, run_id, current.name if current else None)

    def publish(self, draft: Draft, facts: dict[str, Any]) -> Version:
        """Make a finished draft current, keep the version it replaces, drop older ones.

        Raises:
            ConcurrentWriteError: another run published after this draft began, or its run was
            given up.
        """
        file = self._pointer_file(draft.asset)
        before = pointers.read(file)
        current = self._parsed(draft.asset, before).get("current") or {}
        if current.get("name") != draft.replaces:
            raise self._lost_race(draft)
        if not self._draft_file(draft.asset, draft.name).exists():
            raise ConcurrentWriteError(
                f"{draft.asset}: run {draft.run_id} was given up, and what it wrote may have been "
                f"cleared away, so {draft.name} is not made current. Materialize again."
            )
        files = draft.location.files()
        version = Version(
            asset=draft.asset,
            name=draft.name,
            location=draft.location,
            run_id=draft.run_id,
            written_at=datetime.now(UTC).isoformat(),
            files=len(files),
            bytes=sum(file.size for file in files),
            facts=facts,
        )
        pointer = {"format": FORMAT, "current": version.record(), "previous": current or None}
        try:
            pointers.replace(file, _json(pointer), before)
        except pointers.PointerMovedError as error:
            raise self._lost_race(draft) from error
        self._delete_file(self._draft_file(draft.asset, draft.name))
        self._remove_leftovers(draft.asset, draft.run_id)
        return version

    def amend(self, version: Version, facts: dict[str, Any]) -> Version:
        """Give the current version other facts, its files having been edited; keep no other one.

        Raises:
            ConcurrentWriteError: it is not current any more.
        """
        file = self._pointer_file(version.asset)
        before = pointers.read(file)
        current = self._parsed(version.asset, before).get("current") or {}
        files = version.location.files()
        size = sum(file.size for file in files)
        amended = replace(version, files=len(files), bytes=size, facts=facts)
        pointer = {"format": FORMAT, "current": amended.record(), "previous": None}
        try:
            if current.get("name") != version.name:
                raise pointers.PointerMovedError(str(file))
            pointers.replace(file, _json(pointer), before)
        except pointers.PointerMovedError as error:
            raise ConcurrentWriteError(
                f"{version.asset}: version {version.name} is not current any more; a run has "
                "replaced it. Call again when no run is under way."
            ) from error
        self._remove_leftovers(version.asset, version.run_id)
        return amended

    def forget(self, asset: str) -> None:
        """Delete every version of an asset."""
        self.prefix(asset).delete_folder()

    def discard(self, draft: Draft) -> None:
        """Delete a draft that will not be finished."""
        draft.location.delete_folder()
        self._delete_file(self._draft_file(draft.asset, draft.name))

    def abandon(self, run_id: str) -> None:
        """Give up every draft of a run whose process has ended elsewhere: the next run clears them.

        Else they would be kept for a day, as of a machine whose processes cannot be seen.
        """
        for asset in PREFIXES:
            for file in (self.prefix(asset) / "drafts").files():
                draft = Location(self.root.scheme, file.path)
                if json.loads(draft.read())["run_id"] == run_id:
                    self._delete_file(draft)

    def _lost_race(self, draft: Draft) -> ConcurrentWriteError:
        winner = self._pointer(draft.asset).get("current") or {}
        return ConcurrentWriteError(
            f"{draft.asset}: run {winner.get('run_id')} made version {winner.get('name')} "
            f"current while run {draft.run_id} was writing {draft.name}. Nothing of the "
            "former was changed; materialize again, one run at a time."
        )

    def _version(self, asset: str, record: dict[str, Any]) -> Version:
        location = self.prefix(asset) / "versions" / record["name"]
        return Version(asset=asset, location=location, **record)

    def _pointer_file(self, asset: str) -> Location:
        return self.prefix(asset) / "current.json"

    def _pointer(self, asset: str) -> dict[str, Any]:
        return self._parsed(asset, pointers.read(self._pointer_file(asset)))

    def _parsed(self, asset: str, reading: pointers.Reading) -> dict[str, Any]:
        file = self._pointer_file(asset)
        if reading.content is None:
            return {}
        try:
            pointer: Any = json.loads(reading.content)
        except ValueError as error:
            raise UnreadableVersionError(
                f"{asset}: {file} is not valid JSON ({error}). Delete it and materialize again."
            ) from error
        if not isinstance(pointer, dict) or not isinstance(pointer.get("format"), int):
            raise UnreadableVersionError(
                f"{asset}: {file} is no pointer of this project. Delete it and materialize again."
            )
        if pointer["format"] > FORMAT:
            raise UnreadableVersionError(
                f"{asset}: {file} has format {pointer['format']}, this code knows up to {FORMAT}. "
                "Use the newer release of this project that wrote it."
            )
        return pointer

    def _remove_leftovers(self, asset: str, run_id: str) -> None:
        """Delete every version that is neither kept nor being written by a living run."""
        pointer = self._pointer(asset)
        kept = {
            record["name"] for record in (pointer.get("current"), pointer.get("previous")) if record
        }
        selector = fs.FileSelector((self.prefix(asset) / "versions").path, allow_not_found=True)
        for folder in self._fs.get_file_info(selector):
            name = folder.base_name
            if name in kept or self._being_written(asset, name, run_id):
                continue
            Location(self.root.scheme, folder.path).delete_folder()
            self._delete_file(self._draft_file(asset, name))

    def _being_written(self, asset: str, name: str, run_id: str) -> bool:
        try:
            writer = json.loads(self._draft_file(asset, name).read())
        except FileNotFoundError:
            return False
        return drafts.is_being_written(writer, run_id)

    def _draft_file(self, asset: str, name: str) -> Location:
        return self.prefix(asset) / "drafts" / f"{name}.json"

    def _delete_file(self, file: Location) -> None:
        if file.exists():
            self._fs.delete_file(file.path)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode()
