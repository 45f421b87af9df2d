"""Versions in a bucket: the same promises as in a folder, by conditional puts."""

from __future__ import annotations

from typing import Any

import pytest

from spark_src import pointers
from spark_src.errors import AwsError, ConcurrentWriteError, NothingStoredError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.storage import Draft, Storage, Version

ASSET = "raw_images"


@pytest.fixture
def storage(bucket: str) -> Storage:
    return Storage(Location.parse(f"s3://{bucket}/data set"))


def draft_of(storage: Storage, run_id: str, text: str = "data") -> Draft:
    draft = storage.begin(ASSET, run_id)
    (draft.location / "part-0").write(text.encode())
    return draft


def publish(storage: Storage, run_id: str, text: str = "data") -> Version:
    return storage.publish(draft_of(storage, run_id, text), {"rows": len(text)})


def keys(storage: Storage) -> set[str]:
    return {file.path.split("/versions/")[-1] for file in (storage.prefix(ASSET)).files()}


def test_a_published_version_is_the_current_one_with_its_size(storage: Storage) -> None:
    publish(storage, "run-1", "five!")
    version = storage.current(ASSET)
    assert (version.run_id, version.files, version.bytes, version.rows) == ("run-1", 1, 5, 5)
    assert (version.location / "part-0").read() == b"five!"


def test_an_empty_bucket_says_what_makes_the_asset(storage: Storage) -> None:
    with pytest.raises(NothingStoredError, match="materialize --select"):
        storage.current(ASSET)


def test_the_last_two_versions_are_kept(storage: Storage) -> None:
    versions = [publish(storage, f"run-{number}") for number in range(3)]
    assert not versions[0].location.files()
    assert versions[1].location.files()
    assert storage.current(ASSET).name == versions[2].name


def test_of_two_runs_the_later_to_finish_fails_and_says_who_won(storage: Storage) -> None:
    first, second = draft_of(storage, "run-1"), draft_of(storage, "run-2")
    storage.publish(second, {"rows": 1})
    with pytest.raises(ConcurrentWriteError, match="run-2"):
        storage.publish(first, {"rows": 1})
    assert storage.current(ASSET).run_id == "run-2"


def test_a_run_that_is_overtaken_between_reading_and_writing_the_pointer_fails(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = draft_of(storage, "slow"), draft_of(storage, "quick")
    put = pointers.replace

    def overtaken(file: Location, content: bytes, before: pointers.Reading) -> None:
        monkeypatch.setattr(pointers, "replace", put)
        storage.publish(quick, {"rows": 1})
        put(file, content, before)

    monkeypatch.setattr(pointers, "replace", overtaken)
    with pytest.raises(ConcurrentWriteError, match="run quick made version"):
        storage.publish(slow, {"rows": 1})
    assert storage.current(ASSET).run_id == "quick"


def test_a_pointer_whose_written_answer_was_lost_is_not_taken_for_a_lost_race(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, s3 = draft_of(storage, "run-1"), client("s3")
    put = s3.put_object

    def tried_twice(**arguments: Any) -> Any:
        put(**arguments)
        return put(**arguments)  # refused: boto3's second try after a lost answer

    monkeypatch.setattr(s3, "put_object", tried_twice)
    storage.publish(draft, {"rows": 1})
    assert storage.current(ASSET).run_id == "run-1"


def test_a_discarded_draft_leaves_nothing(storage: Storage) -> None:
    publish(storage, "run-1")
    before = keys(storage)
    storage.discard(draft_of(storage, "run-2"))
    assert keys(storage) == before


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_does_not_exist_is_named_with_the_remedy() -> None:
    storage = Storage(Location.parse("s3://fruits-no-such-bucket/data"))
    with pytest.raises(AwsError, match=r"fruits-no-such-bucket.*NoSuchBucket.*terraform apply"):
        storage.find(ASSET)
