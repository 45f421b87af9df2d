"""A person is redacted in texts, JSON, pickles and compressed values, and nothing else is."""

import base64
import gzip
import json
import pickle
import zlib

import dagster as dg
import pytest

from fruits_assets.records.redaction import Redaction
from spark_src.erasure.decode import texts_of_value
from spark_src.erasure.needles import Needles
from spark_src.erasure.target import Target
from spark_src.io.locations import Location

NAME = 'zq7-anna "é'
PATH = f"photos/{NAME}/my picture.jpg"
OTHERS = "photos/ben-22c/1.jpg"


@pytest.fixture
def redaction() -> Redaction:
    target, source = Target.from_names(NAME), Location("file", "/input")
    return Redaction(Needles.from_target(target, source, [], others=["ben-22c"]), (NAME,))


@pytest.mark.parametrize(
    "file", ["it's, me|<b>.jpg", "a;b)c].jpg", 'say "x".jpg', "two\nlines.jpg"]
)
def test_no_part_of_a_file_name_is_left(file: str) -> None:
    path = f"photos/{NAME}/{file}"
    target = Target(NAME, frozenset(), frozenset({path}))
    needles = Needles.from_target(target, Location("file", "/input"), [])
    redaction = Redaction(needles, (NAME,), target.paths)
    event = {"metadata": {"worst": path, "text": f"see {path} and {OTHERS}"}}
    texts = (path, f"read {path}, {OTHERS} too", json.dumps(event), repr([path]))
    for text in texts:
        redacted = redaction.text(text)
        assert file.rpartition(".")[0][-3:] not in redacted
        assert (OTHERS in redacted) == (OTHERS in text)
    stored = pickle.dumps({"path": path, "rest": "stays"})
    blanked = pickle.loads(redaction.blob(stored))
    assert blanked == {"path": "x" * len(path.encode()), "rest": "stays"}


@pytest.mark.parametrize(
    "text",
    [
        PATH,
        json.dumps({"a": json.dumps([PATH])}),
        json.dumps({PATH: 1}),
        f"a\n{PATH}\nb",
        f"file:///input/{PATH}",
        repr(PATH),
        "photos/zq7-anna%20%22%C3%A9/1.jpg",
    ],
)
def test_the_person_is_redacted_in_a_text(redaction: Redaction, text: str) -> None:
    redacted = redaction.text(text)
    assert "anna" not in redacted
    assert redaction.text(redacted) == redacted


PACKED = [
    zlib.compress(PATH.encode()),
    gzip.compress(json.dumps({"a": PATH}).encode()),
    base64.b64encode(zlib.compress(json.dumps([PATH]).encode(), 9)),
    b"0" + base64.b64encode(zlib.compress(PATH.encode())),
    json.dumps({"cursor": base64.b64encode(gzip.compress(PATH.encode())).decode()}).encode(),
]
"""As Dagster stores cursors of sensors, snapshots and messages of other processes."""


@pytest.mark.parametrize("value", PACKED, ids=["zlib", "gzip", "base64", "cursor", "json"])
def test_the_person_is_found_and_redacted_in_a_compressed_value(
    redaction: Redaction, value: bytes
) -> None:
    needles = redaction.needles
    assert any(needles.are_in(text) for text in texts_of_value(value))
    redacted = redaction.blob(value)
    assert redacted != value
    assert redacted[:1] == value[:1]
    assert not any(needles.are_in(text) for text in texts_of_value(redacted))
    assert redaction.blob(redacted) == redacted
    if value.isascii():
        assert redaction.text(value.decode()) == redacted.decode()


@pytest.mark.parametrize("name", ["label", "entry_data", "__class__", "EventMetadataEntry", "text"])
def test_a_person_whose_name_is_dagsters_does_not_damage_its_records(name: str) -> None:
    needles = Needles.from_target(Target.from_names(name), Location("file", "/input"), [])
    paths = dg.MetadataValue.text(f"photos/{name}/1.jpg")
    event = dg.AssetMaterialization(
        "raw_images", metadata={"worst": paths, name: 1}, tags={"a": name}
    )
    redacted = Redaction(needles, (name,)).text(dg.serialize_value(event))
    read = dg.deserialize_value(redacted, dg.AssetMaterialization)
    assert read.metadata["worst"].value == "(erased)"
    assert read.tags == {"a": "erased"}


def test_other_compressed_values_are_not_changed(redaction: Redaction) -> None:
    for content in (OTHERS.encode(), b"\0\xff"):
        for packed in (zlib.compress(content), gzip.compress(content)):
            for value in (packed, base64.b64encode(packed)):
                assert redaction.blob(value) is value


@pytest.mark.parametrize("text", [OTHERS, "myphotos/zq7-anna/1.jpg", '{"a": [1, "Apple"]}', ""])
def test_texts_without_the_person_are_not_changed(redaction: Redaction, text: str) -> None:
    assert redaction.text(text) is text
