"""Credentials for Delta tables: boto3's current ones, without a command for each table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spark_src.io.aws import delta_options, reset_clients
from spark_src.io.locations import Location

FOLDER = Location.parse("s3://bucket/data")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A line for each call of the profile's `credential_process`."""
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\ncd {tmp_path} && echo called >> calls && cat found.json")
    command.chmod(0o700)
    (tmp_path / "config").write_text(f"[profile role]\ncredential_process = {command}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "role")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    reset_clients()
    yield tmp_path / "calls"
    reset_clients()


def set_output(calls: Path, key: str, valid: timedelta) -> None:
    """Set what the command prints."""
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    found = dict.fromkeys(names, key) | {"Expiration": (datetime.now(UTC) + valid).isoformat()}
    calls.with_name("found.json").write_text(json.dumps({"Version": 1, **found}))


def test_the_command_for_credentials_runs_once_while_they_are_valid(calls: Path) -> None:
    set_output(calls, "first", timedelta(hours=1))
    keys = [delta_options(FOLDER)["aws_access_key_id"] for _ in range(3)]
    assert keys == ["first"] * 3
    assert calls.read_text().splitlines() == ["called"]


def test_credentials_are_renewed_before_they_expire(calls: Path) -> None:
    set_output(calls, "first", timedelta(minutes=1))
    delta_options(FOLDER)
    set_output(calls, "second", timedelta(hours=1))
    options = delta_options(FOLDER)
    assert (options["aws_access_key_id"], options["aws_session_token"]) == ("second", "second")


def test_credentials_that_another_program_replaces_are_read_again(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = calls.with_name("credentials")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "signed-in")
    for key in ("of-the-morning", "of-the-evening"):
        file.write_text(f"[signed-in]\naws_access_key_id={key}\naws_secret_access_key=s\n")
        assert delta_options(FOLDER)["aws_access_key_id"] == key
