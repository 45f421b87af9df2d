"""`fruits doctor`: check this machine and a folder of pictures before a run. Changes nothing."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from fruits_assets.cli._finding import Finding, Level, existing_folder

if TYPE_CHECKING:
    from fruits_assets.settings import Settings


def doctor(
    folder: Annotated[
        str | None, typer.Argument(help="Folder of pictures; FRUITS_INPUT by default.")
    ] = None,
) -> None:
    """Check this machine and a folder of pictures before the first run.

    Exits with 0 when everything is fine, 1 when there are warnings, 2 when a run would fail.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from fruits_assets.settings import load_settings

    settings = load_settings()
    if folder is not None:
        settings = settings.model_copy(update={"input": folder})
    found = list(_findings(settings))
    table = Table("subject", "finding", "", title="fruits doctor")
    for finding in found:
        table.add_row(finding.subject, escape(finding.text), finding.level.name.lower())
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    worst = max(finding.level for finding in found)
    typer.echo(next_command(worst, folder))
    raise typer.Exit(int(worst))


def next_command(worst: Level, folder: str | None) -> str:
    """The line that tells the user what to do next."""
    given = folder or os.environ.get("FRUITS_INPUT")
    variable = f"FRUITS_INPUT={shlex.quote(given)} " if given else ""
    if worst is Level.ERROR:
        return f"next    fix the lines marked `error`, then: {variable}uv run fruits doctor"
    return f"next    {variable}uv run fruits run"


def _findings(settings: Settings) -> Iterator[Finding]:
    from fruits_assets.cli._doctor_pictures import picture_findings

    yield from _machine()
    yield _scratch(settings)
    if "s3" in {settings.input_location.scheme, settings.storage_location.scheme}:
        aws = _guarded("AWS", lambda: _aws(settings))
        yield aws
        if aws.level is Level.ERROR:
            return  # the pictures may be in a bucket that must not be read
    yield from picture_findings(settings)


def _machine() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()}, {platform.platform(terse=True)}")
    yield _guarded("Java", _java)
    yield _processor()
    yield _locale()
    yield _host_name()
    yield _proxy()


def _guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    from spark_src.errors import FruitsError

    try:
        return check()
    except FruitsError as error:
        return Finding(subject, str(error), Level.ERROR)


def _java() -> Finding:
    from spark_src.spark.variables import find_java, remove_foreign_variables

    others = sorted(remove_foreign_variables(dict(os.environ)))
    text = find_java()
    return Finding("Java", text + (f"\nnot used: {', '.join(others)}" if others else ""))


def _processor() -> Finding:
    from spark_src.spark.machine import this_machine

    machine = this_machine()
    text = f"{machine.cores} cores, {machine.memory / 1e9:.1f} GB: {machine.workers} workers"
    level = Level.WARNING if machine.workers < machine.cores else Level.GOOD
    return Finding("cores, memory", text, level)


def _scratch(settings: Settings) -> Finding:
    folder = existing_folder(settings.scratch)
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        text = f"{folder} is not writable: set FRUITS_STORAGE to a folder that you may write to"
        return Finding("storage, scratch", text, Level.ERROR)
    text = f"{settings.scratch}, {free / 1e9:.1f} GB free"
    return Finding("storage, scratch", text, Level.GOOD if free > 2e9 else Level.WARNING)


def _locale() -> Finding:
    from spark_src.spark.variables import is_utf8_locale

    name = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG")
    text = name or "none"
    return Finding("locale", text if is_utf8_locale() else f"{text}: C.UTF-8 is used instead")


def _host_name() -> Finding:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return Finding("host name", f"{name} does not resolve; 127.0.0.1 is used instead")
    return Finding("host name", name)


def _proxy() -> Finding:
    names = ("HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
    given = [name for name in names if os.environ.get(name)]
    missing = [
        name
        for name in given
        if name.isupper() and "PROXY" not in name and not os.path.exists(os.environ[name])
    ]
    if missing:
        text = f"{missing[0]}={os.environ[missing[0]]} does not exist: correct or unset it"
        return Finding("proxy", text, Level.ERROR)
    return Finding("proxy", ", ".join(given) or "none")


def _aws(settings: Settings) -> Finding:
    import boto3

    settings.require_in_region([settings.storage_location, settings.input_location])
    credentials = boto3.Session().get_credentials()
    method = credentials.method if credentials else "none"
    return Finding("AWS", f"{settings.region}, credentials: {method}")
