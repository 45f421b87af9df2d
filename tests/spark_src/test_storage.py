"""Versions: what is current, what is kept, and what becomes of drafts and dead runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from spark_src.contract import PREFIXES
from spark_src.errors import (
    ConcurrentWriteError,
    NothingStoredError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.io.locations import Location
from spark_src.storage import Draft, Storage, Version

ASSET = "raw_images"

WRITER = """
import sys
from spark_src.io.locations import Location
from spark_src.storage import Storage

storage = Storage(Location.parse(sys.argv[1]))
draft = storage.begin("raw_images", "other-run")
(draft.location / "half").write(b"x")
print(draft.name, flush=True)
sys.stdin.readline()
storage.publish(draft, {"rows": 1})
print("published", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["plain", "a b#c%20[1]"])
def storage(tmp_path: Path, request: pytest.FixtureRequest) -> Storage:
    return Storage(Location.parse(str(tmp_path / request.param)))


def draft_of(storage: Storage, run_id: str, text: str = "data") -> Draft:
    draft = storage.begin(ASSET, run_id)
    (draft.location / "part-0").write(text.encode())
    return draft


def publish(storage: Storage, run_id: str, text: str = "data") -> Version:
    return storage.publish(draft_of(storage, run_id, text), {"rows": len(text)})


def stored_text(version: Version) -> str:
    return (version.location / "part-0").read().decode()


def folders(storage: Storage) -> set[str]:
    return {path.name for path in Path(storage.prefix(ASSET).path, "versions").iterdir()}


def pointer(storage: Storage) -> Path:
    return Path(storage.prefix(ASSET).path, "current.json")


def drafts(storage: Storage) -> list[Path]:
    return list(Path(storage.prefix(ASSET).path, "drafts").iterdir())


@contextmanager
def other_process(storage: Storage) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that has begun a draft, and the draft's name."""
    command = [sys.executable, "-c", WRITER, storage.root.path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_version_becomes_current_by_publishing_only(storage: Storage) -> None:
    draft = draft_of(storage, "run-1")
    assert storage.find(ASSET) is None
    published = storage.publish(draft, {"rows": 4})
    assert storage.current(ASSET) == published
    assert stored_text(published) == "data"


def test_a_version_knows_its_run_its_files_its_bytes_and_its_facts(storage: Storage) -> None:
    publish(storage, "run-1", "12345")
    version = storage.current(ASSET)
    assert (version.run_id, version.files, version.bytes, version.rows) == ("run-1", 1, 5, 5)
    assert version.facts == {"rows": 5}


def test_the_old_version_stays_readable_while_a_new_one_is_written(storage: Storage) -> None:
    publish(storage, "run-1", "old")
    draft_of(storage, "run-2", "new")
    assert stored_text(storage.current(ASSET)) == "old"


def test_a_discarded_draft_leaves_the_old_version_and_no_trace(storage: Storage) -> None:
    old = publish(storage, "run-1", "old")
    storage.discard(draft_of(storage, "run-2", "new"))
    assert stored_text(storage.current(ASSET)) == "old"
    assert folders(storage) == {old.name}
    assert drafts(storage) == []


def test_the_last_two_versions_are_kept_and_older_ones_dropped(storage: Storage) -> None:
    versions = [publish(storage, f"run-{number}") for number in range(4)]
    assert folders(storage) == {versions[2].name, versions[3].name}
    assert storage.current(ASSET) == versions[3]
    assert drafts(storage) == []


def test_a_reader_that_holds_the_previous_version_can_go_on_reading(storage: Storage) -> None:
    publish(storage, "run-1", "old")
    held = storage.current(ASSET)
    publish(storage, "run-2", "new")
    assert stored_text(held) == "old"


def test_what_a_killed_process_left_is_removed_by_the_next_begin(storage: Storage) -> None:
    with other_process(storage) as (process, name):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folders(storage) == {name}
        draft = storage.begin(ASSET, "run-2")
        assert folders(storage) == {draft.name}
        assert [file.stem for file in drafts(storage)] == [draft.name]


def test_a_draft_of_a_living_process_survives_begin_and_publish(storage: Storage) -> None:
    with other_process(storage) as (_, name):
        published = publish(storage, "run-2")
        assert folders(storage) == {name, published.name}


def test_a_draft_of_this_runs_earlier_try_is_removed(storage: Storage) -> None:
    earlier = draft_of(storage, "run-1")
    later = draft_of(storage, "run-1")
    assert earlier.name != later.name
    assert folders(storage) == {later.name}


@pytest.mark.parametrize(("started_at", "kept"), [("2999-01-01", True), ("2020-01-01", False)])
def test_a_draft_of_another_machine_is_kept_for_a_day(
    storage: Storage, started_at: str, kept: bool
) -> None:
    draft = draft_of(storage, "run-1")
    file = drafts(storage)[0]
    changes = {"host": "elsewhere", "pid": 2**22 + 1, "started_at": f"{started_at}T00:00:00+00:00"}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    storage.begin(ASSET, "run-2")
    assert (draft.name in folders(storage)) is kept


def test_of_two_runs_that_overlap_the_first_to_publish_stays(storage: Storage) -> None:
    first, second = draft_of(storage, "run-1", "first"), draft_of(storage, "run-2", "second")
    storage.publish(first, {"rows": 1})
    with pytest.raises(ConcurrentWriteError, match=r"raw_images: run run-1 .* run run-2"):
        storage.publish(second, {"rows": 2})
    assert stored_text(storage.current(ASSET)) == "first"


def test_a_process_that_publishes_later_than_this_one_is_told_so(storage: Storage) -> None:
    with other_process(storage) as (process, _):
        ours = publish(storage, "run-2")
        output, _ = process.communicate("\n", timeout=30)
        assert "published" not in output
        assert process.returncode == 1
    assert storage.current(ASSET) == ours


def test_a_process_that_publishes_earlier_than_this_one_wins(storage: Storage) -> None:
    with other_process(storage) as (process, name):
        draft = draft_of(storage, "run-2")
        process.communicate("\n\n", timeout=30)
        with pytest.raises(ConcurrentWriteError):
            storage.publish(draft, {"rows": 1})
        assert storage.current(ASSET).name == name


def test_reading_what_was_never_made_names_asset_folder_and_command(storage: Storage) -> None:
    with pytest.raises(NothingStoredError) as caught:
        storage.current(ASSET)
    assert str(caught.value).startswith("raw_images ")
    assert str(storage.prefix(ASSET)) in str(caught.value)
    assert "uv run dagster asset materialize --select '*raw_images'" in str(caught.value)


def test_a_pointer_of_a_newer_format_is_refused(storage: Storage) -> None:
    publish(storage, "run-1")
    newer = json.loads(pointer(storage).read_text()) | {"format": 2}
    pointer(storage).write_text(json.dumps(newer))
    with pytest.raises(UnreadableVersionError, match=r"current\.json has format 2"):
        storage.current(ASSET)
    with pytest.raises(UnreadableVersionError):
        storage.begin(ASSET, "run-2")


@pytest.mark.parametrize(
    "content", [b"", b'{"format": 1, "curr', b"\xff\xfe\x00", b"[]", b"{}", b'{"current": {}}']
)
def test_a_damaged_pointer_is_named_with_its_remedy(storage: Storage, content: bytes) -> None:
    publish(storage, "run-1")
    pointer(storage).write_bytes(content)
    with pytest.raises(UnreadableVersionError, match=r"current\.json"):
        storage.current(ASSET)


def test_a_pointer_to_a_folder_that_is_gone_names_the_folder(storage: Storage) -> None:
    version = publish(storage, "run-1")
    (version.location / "part-0").filesystem.delete_dir(version.location.path)
    with pytest.raises(UnreadableVersionError) as caught:
        storage.current(ASSET)
    assert str(version.location) in str(caught.value)


def test_an_unknown_asset_is_refused_with_the_known_ones(storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"no asset 'raw'; there are raw_images, .*csv_export"):
        storage.begin("raw", "run-1")


def test_assets_do_not_see_each_other(storage: Storage) -> None:
    publish(storage, "run-1")
    for asset in set(PREFIXES) - {ASSET}:
        assert storage.find(asset) is None


@pytest.mark.parametrize("hours", [-20, 20])
def test_a_machine_whose_clock_is_wrong_by_hours_changes_nothing_for_others(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class WrongClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=hours)

    first = storage.publish(storage.begin("raw_images", "run-1"), {"rows": 1})
    with monkeypatch.context() as patch:
        patch.setattr("spark_src.storage.datetime", WrongClock)
        patch.setattr("socket.gethostname", lambda: "another machine")
        theirs = storage.begin("raw_images", "run-2")
    ours = storage.publish(storage.begin("raw_images", "run-3"), {"rows": 3})
    assert theirs.location.exists(), "what another machine is writing was taken for abandoned"
    assert storage.current("raw_images").name == ours.name
    assert [version.name for version in storage.kept("raw_images")] == [ours.name, first.name]
    with pytest.raises(ConcurrentWriteError):
        storage.publish(theirs, {"rows": 2})
