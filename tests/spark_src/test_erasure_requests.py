"""Files of requests, which anyone with write access to the storage can create or edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spark_src.erasure import requests
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables

ANNA = Target.from_names("anna-7f3")
BEGUN = "2026-01-01T00:00:00+00:00"


def edited(**fields: Any) -> bytes:
    stored = {
        "subject": "ben-22c",
        "image_ids": [],
        "all_owners": False,
        "paths": [],
        "known_image_ids": [],
        "done": {"begun": BEGUN},
    }
    return json.dumps(stored | fields).encode()


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    found = Tables(Location.parse(str(tmp_path)))
    requests.store(found, ANNA)
    return found


INVALID = {
    "cut off": b"{",
    "deeply nested": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe",
    "half of a character": b'{"subject": "ben", "image_ids": ["\\ud800"]}',
    "a number as subject": edited(subject=5),
    "half of a character as subject": edited(subject="\ud800"),
    "a number as path": edited(paths=[1]),
    "a text as paths": edited(paths="photos"),
    "half of a character as path": edited(paths=["\ud800"]),
    "no text as id": edited(known_image_ids=[None]),
    "a text as flag": edited(all_owners="no"),
    "a list as progress": edited(done=[]),
    "a number as stage": edited(done={"begun": BEGUN, "inputs": 5}),
    "a text as time": edited(done={"begun": "ask photos/ben-22c/"}),
    "an unknown field": edited(note="photos/ben-22c/"),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_request_is_reported_and_does_not_block_another(
    tables: Tables, tmp_path: Path, name: str
) -> None:
    (tmp_path / "erasures" / "pending-broken.json").write_bytes(INVALID[name])
    [request] = requests.pending(tables)
    assert request.target == ANNA
    with pytest.raises(ErasureError, match=r"pending-broken\.json is not a valid request") as found:
        requests.require_all_done(tables)
    assert "ben" not in str(found.value)


@pytest.mark.parametrize("path", ["../a.jpg", "/etc/passwd", "photos/../../a.jpg", ".."])
def test_a_request_for_a_file_outside_the_input_does_not_block_another(
    tables: Tables, tmp_path: Path, path: str
) -> None:
    (tmp_path / "erasures" / "pending-broken.json").write_bytes(edited(paths=[path]))
    assert [request.target for request in requests.pending(tables)] == [ANNA]
    with pytest.raises(ErasureError, match=r"absolute or contain `\.\.`"):
        requests.require_all_done(tables)


def test_a_request_keeps_its_progress(tables: Tables) -> None:
    [request] = requests.pending(tables)
    request.record_stage("inputs", 0.0, files=2).record_stage("inputs", 0.0, files=3)
    [request] = requests.pending(tables)
    assert request.done["inputs"]["files"] == 5
    assert "rows" not in request.done
