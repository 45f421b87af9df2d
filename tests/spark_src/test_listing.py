"""The listing has every file of the input. No file is opened, and no link followed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest

from spark_src.errors import InputError
from spark_src.images import listing as listing_module
from spark_src.images.listing import (
    FILES,
    REFUSED,
    Listing,
    fingerprint,
    list_files,
    require_some_file,
)
from spark_src.images.names import text_of
from spark_src.io.locations import Location
from tests.unprivileged import unprivileged

REPOSITORY = Path(__file__).parents[2]

LIST = """
import json, sys
from spark_src.images.listing import list_files
from spark_src.io.locations import Location

listing = list_files(Location.parse(sys.argv[1]))
print(json.dumps([listing.root.uri, listing.files["path"].to_pylist()]))
"""


def fill(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())
    return folder


def listed(folder: Path) -> Listing:
    return list_files(Location.parse(str(folder)))


def paths_in(listing: Listing) -> list[str]:
    return [str(path) for path in listing.files["path"].to_pylist()]


def reasons_in(listing: Listing) -> dict[str, str]:
    columns = (listing.refused[name].to_pylist() for name in ("path", "reason"))
    return dict(zip(*columns, strict=True))


@pytest.mark.parametrize("kind", ["missing", "empty", "only folders", "only litter", "a file"])
@pytest.mark.parametrize("check", [list_files, require_some_file])
def test_an_input_without_files_is_named(tmp_path: Path, kind: str, check: object) -> None:
    folder = tmp_path / "photos"
    if kind == "a file":
        folder.write_bytes(b"x")
    elif kind != "missing":
        folder.mkdir()
    if kind == "only folders":
        (folder / "Training" / "Apple").mkdir(parents=True)
    if kind == "only litter":
        fill(folder, "A/.DS_Store", "B/Thumbs.db")
    if kind == "only litter" and check is require_some_file:
        require_some_file(Location.parse(str(folder)))  # only checks for any entry
        return
    with pytest.raises(InputError) as caught:
        check(Location.parse(str(folder)))  # type: ignore[operator]
    assert str(folder) in str(caught.value)
    assert "FRUITS_INPUT" in str(caught.value)


def test_one_file_in_any_subfolder_is_enough(tmp_path: Path) -> None:
    require_some_file(Location.parse(str(fill(tmp_path, "a/b/c/1.jpg"))))


def test_files_have_their_path_size_and_time_and_are_sorted(tmp_path: Path) -> None:
    fill(tmp_path, "b/2.jpg", "_c/.3.jpg", "a.jpg", "b/1.jpg")
    os.utime(tmp_path / "a.jpg", ns=(0, 1_700_000_000_123_456_789))
    listing = listed(tmp_path)
    assert listing.files.schema == FILES
    assert paths_in(listing) == ["_c/.3.jpg", "a.jpg", "b/1.jpg", "b/2.jpg"]
    assert listing.files["source_bytes"].to_pylist() == [9, 5, 7, 7]
    assert listing.files["raw_path"].null_count == 4
    assert listing.files["source_etag"].null_count == 4
    modified = datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert listing.files["source_modified"][1].as_py() == modified


def test_a_listing_reports_counts_of_files_litter_and_bytes(tmp_path: Path) -> None:
    fill(tmp_path, "A/1.jpg", "A/.DS_Store", "B/.DS_Store", "B/1.xmp", "B/2.png")
    (tmp_path / "B" / "link.png").symlink_to(tmp_path / "B" / "2.png")
    listing = listed(tmp_path)
    assert (listing.n_pictures, listing.n_listed, listing.bytes) == (3, 6, 14)
    assert listing.ignored == {".DS_Store": 2, "sidecars": 1}
    assert str(listing) == (
        f"3 files, 14 bytes under {tmp_path}; 3 ignored (.DS_Store 2, sidecars 1)"
    )


def test_links_pipes_and_sockets_are_refused_and_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.jpg")
    fill(tmp_path / "in", "2.jpg")
    (tmp_path / "in" / "Apple").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "3.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "in" / "s"))
        with ThreadPoolExecutor(1) as thread:
            listing = thread.submit(listed, tmp_path / "in").result(timeout=20)
    assert paths_in(listing) == ["2.jpg"]
    links = dict.fromkeys(("Apple", "3.jpg", "circle", "nowhere"), "link")
    assert reasons_in(listing) == links | {"pipe.jpg": "not_a_file", "s": "not_a_file"}
    assert listing.refused.schema == REFUSED
    assert all(listing.refused["detail"].to_pylist())
    assert listing.n_listed == 7


def test_a_hard_link_is_a_file(tmp_path: Path) -> None:
    os.link(fill(tmp_path, "1.jpg") / "1.jpg", tmp_path / "2.jpg")
    assert paths_in(listed(tmp_path)) == ["1.jpg", "2.jpg"]


@pytest.fixture
def closed_folder(public_folder: Path) -> Iterator[Path]:
    """An input with a folder without read permission, and one without execute permission."""
    fill(public_folder, "open/1.jpg", "closed/2.jpg", "unsearchable/3.jpg", "unsearchable/4.jpg")
    (public_folder / "closed").chmod(0o000)
    (public_folder / "unsearchable").chmod(0o744)
    yield public_folder
    for name in ("closed", "unsearchable"):
        (public_folder / name).chmod(0o755)


def test_a_folder_that_cannot_be_opened_is_refused_and_the_others_listed(
    closed_folder: Path,
) -> None:
    with unprivileged():
        listing = listed(closed_folder)
    assert paths_in(listing) == ["open/1.jpg"]
    unreadable = ["closed", "unsearchable/3.jpg", "unsearchable/4.jpg"]
    assert reasons_in(listing) == dict.fromkeys(unreadable, "unreadable")
    assert all("Permission denied" in text for text in listing.refused["detail"].to_pylist())


def test_a_folder_whose_path_is_too_long_is_refused_with_the_remedy(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=folder)
        folder, parent = os.open("d" * 200, os.O_RDONLY, dir_fd=folder), folder
        os.close(parent)
    os.close(folder)
    listing = listed(tmp_path)
    assert paths_in(listing) == ["1.jpg"]
    assert listing.refused["detail"].to_pylist() == [
        "the path of the folder is longer than the system can open: move it further up"
    ]


@pytest.mark.parametrize("check", [list_files, require_some_file])
def test_an_input_that_cannot_be_opened_is_named_with_the_cause(
    public_folder: Path, check: object
) -> None:
    fill(public_folder / "in", "1.jpg")
    (public_folder / "in").chmod(0o000)
    with unprivileged(), pytest.raises(InputError, match="cannot be opened") as caught:
        check(Location.parse(str(public_folder / "in")))  # type: ignore[operator]
    assert str(public_folder / "in") in str(caught.value)
    (public_folder / "in").chmod(0o755)


def test_files_that_vanish_while_they_are_listed_are_accounted_for(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{folder}/{n}.jpg" for folder in range(40) for n in range(60)))
    doomed = sorted(tmp_path.rglob("*.jpg"))[1::2]
    finished = threading.Event()

    def delete() -> None:
        for file in doomed:
            file.unlink()
        finished.set()

    thread = threading.Thread(target=delete)
    thread.start()
    stay = {str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.jpg")} - {
        str(f.relative_to(tmp_path)) for f in doomed
    }
    while not finished.is_set():
        listing = listed(tmp_path)
        assert stay <= set(paths_in(listing))
        assert set(reasons_in(listing).values()) <= {"vanished"}
    thread.join()
    assert set(paths_in(listed(tmp_path))) == stay


def test_names_of_any_bytes_are_listed_under_unique_paths(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", rb"caf\xe9.jpg", rb"caf\x5cxe9.jpg", "café.jpg".encode()]
    names += [b"two\nlines.jpg", rb"back\slash.jpg", b"\xff\xfe.jpg", b"tab\t.jpg"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    listing = listed(tmp_path)
    rows = listing.files.select(["path", "raw_path"]).to_pylist()
    found = {row["path"]: row["raw_path"] or row["path"].encode() for row in rows}
    assert len(rows) == len(found) == len(names)
    assert sorted(found.values()) == sorted(names)
    assert found["back\\slash.jpg"] == rb"back\slash.jpg"
    assert found["caf\\xe9.jpg"] == b"caf\xe9.jpg"
    assert {text_of(name) for name in names} == set(found)


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C.UTF-8"},
    ],
    ids=["C without UTF-8", "C", "UTF-8"],
)
def test_the_listing_is_the_same_in_any_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    folder = fill(tmp_path / "Früchte", "Äpfel/果物 🍎.jpg", "1.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.jpg")).touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    run = subprocess.run(
        [sys.executable, "-c", LIST, str(folder)],
        env=kept | locale,
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    root, paths = json.loads(run.stdout)
    assert root == Location.parse(str(folder)).uri
    assert paths == ["1.jpg", "\\xe9.jpg", "Äpfel/果物 🍎.jpg"]


def test_long_listings_are_kept_as_arrow_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, *(f"{number % 7}/{number}.jpg" for number in range(100)))
    expected = listed(tmp_path).files
    monkeypatch.setattr(listing_module, "_ROWS_AT_ONCE", 9)
    assert listed(tmp_path).files.equals(expected)
    assert expected.num_rows == 100


def test_the_fingerprint_changes_when_a_file_is_added_removed_or_rewritten(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg", "2.jpg")
    first = fingerprint(listed(tmp_path))
    assert fingerprint(listed(tmp_path)) == first
    seen = {first}
    os.utime(tmp_path / "1.jpg", ns=(0, 5_000))
    seen.add(fingerprint(listed(tmp_path)))
    fill(tmp_path, "3.jpg")
    seen.add(fingerprint(listed(tmp_path)))
    (tmp_path / "2.jpg").unlink()
    seen.add(fingerprint(listed(tmp_path)))
    (tmp_path / "link").symlink_to("1.jpg")
    seen.add(fingerprint(listed(tmp_path)))
    assert len(seen) == 5


def test_litter_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    before = fingerprint(listed(fill(tmp_path, "1.jpg")))
    assert fingerprint(listed(fill(tmp_path, ".DS_Store"))) == before


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no file system for any time")  # noqa: S108
def test_a_file_time_out_of_range_is_clamped() -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        fill(Path(folder), "1 too early.jpg", "2 of today.jpg", "3 too late.jpg")
        os.utime(Path(folder, "1 too early.jpg"), (-(2**37), -(2**37)))
        os.utime(Path(folder, "3 too late.jpg"), (2**50, 2**50))
        times = listed(Path(folder)).files["source_modified"].to_pylist()
    assert [times[0].year, times[2].year] == [1, 9999]


def test_a_listing_without_files_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    listing = listed(tmp_path)
    assert listing.files.equals(pa.table(FILES.empty_table()))
    assert listing.n_listed == 1
