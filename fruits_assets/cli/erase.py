"""`fruits erase`. The job that erases the data: `erasure_job.py`."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._folders import require_home
from fruits_assets.cli._next import say_next
from fruits_assets.cli._output import LOG, native_output_to
from spark_src.errors import ErasureError

if TYPE_CHECKING:
    import dagster as dg

    from fruits_assets.records.home import Records
    from spark_src.erasure.lookup import Found
    from spark_src.erasure.target import Target
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

Ids = Annotated[
    list[str] | None,
    typer.Option("--image-id", help="A picture's image_id; can be repeated."),
]


def erase(  # noqa: PLR0913, PLR0917 - the command's options
    subject: Annotated[str | None, typer.Option(help="The person's folder under photos/.")] = None,
    image_ids: Ids = None,
    all_owners: Annotated[
        bool,
        typer.Option(
            "--all-owners",
            help="With --image-id: erase every copy, even if several people supplied the picture.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be erased; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask to repeat the name.")] = False,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="After restoring a backup: repeat the erasures made since the backup.",
        ),
    ] = False,
    erased_list: Annotated[
        str | None,
        typer.Option(help="With --replay: the folder with the list, if it is not erasures/."),
    ] = None,
) -> None:
    """Erase a person's data: input, tables, PCA sums, CSV, leftover files, Dagster's records.

    Then scan every file. Safe to interrupt: the same command, or one without a name, completes
    pending requests. Sensor and automation are paused meanwhile.
    """
    from fruits_assets.definitions import build_defs
    from fruits_assets.settings import load_settings
    from spark_src.erasure.target import Target, subject_in_tables
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

    require_home()
    settings = load_settings()
    storage, source = settings.storage_location, settings.input_location
    listed = [Location.parse(erased_list)] if erased_list else []
    settings.require_in_region([storage, source, *listed])
    tables = Tables(storage)
    has_target = subject is not None or bool(image_ids)
    if subject is not None:
        subject = subject_in_tables(subject, source)
    target = Target.from_names(subject, image_ids or (), all_owners) if has_target else None
    if replay == has_target and (replay or dry_run):
        raise ErasureError("Give either --subject ID or --image-id ID, or --replay.")
    with _instance() as instance:
        command = _EraseCommand(tables, source, instance)
        targets = command.find_restored(erased_list) if replay else [target] if target else []
        if replay and not targets:
            return
        if not command.confirm(targets, dry_run, yes, replay):
            options = _options(subject, image_ids or [], all_owners, erased_list)
            say_next(shlex.join(["erase", *options]), "erases it, after asking once more")
            return
        command.run(targets, lambda: build_defs(settings))


def _options(
    subject: str | None, image_ids: list[str], all_owners: bool, erased_list: str | None
) -> list[str]:
    """The options of the command without --dry-run."""
    if subject is None and not image_ids:
        return ["--replay", *(["--erased-list", erased_list] if erased_list else [])]
    person = ["--subject", subject] if subject else []
    ids = [text for image_id in image_ids for text in ("--image-id", image_id)]
    return person + ids + ["--all-owners"] * all_owners


@dataclass(frozen=True)
class _EraseCommand:
    """The steps of the command, for one storage and one Dagster instance."""

    tables: Tables
    source: Location
    instance: dg.DagsterInstance

    @property
    def records(self) -> Records:
        from fruits_assets.records.home import Records

        return Records(self.instance, (self.tables.root, self.source))

    def find_restored(self, erased_list: str | None) -> list[Target]:
        """People and pictures in the data that are on the list of erasures."""
        from spark_src.erasure import erased
        from spark_src.erasure.people import image_ids, people
        from spark_src.io.locations import Location

        folder = Location.parse(erased_list) if erased_list else erased.folder_of(self.tables)
        entries = erased.load(folder)
        if not entries:
            raise ErasureError(
                f"{folder} has no list of erasures. It is stored in erasures/ of the storage that "
                "was last in use: pass that folder with --erased-list."
            )
        names = people(self.tables, self.source) | self.records.people()
        found = erased.find(entries, names, image_ids(self.tables))
        if not found:
            typer.echo(f"No erased data was restored: checked {len(entries):,} entries.")
        return found

    def confirm(self, targets: list[Target], dry_run: bool, yes: bool, replay: bool) -> bool:
        """Show what would be erased and ask for confirmation; return whether to proceed."""
        from spark_src.erasure import requests
        from spark_src.erasure.lookup import find

        for target in targets:
            if not dry_run and requests.is_pending(self.tables, target):
                continue
            look_up = find if replay else requests.look_up
            found = look_up(self.tables, self.source, target, records=self.records.scan)
            whose = f" {target.subject!r}" if replay and target.subject else ""
            title = "Would be erased (nothing was changed)" if dry_run else "To be erased"
            _show(found, title + whose)
            if not (dry_run or yes):
                _ask_again(target, self.source)
        return not dry_run

    def run(self, targets: list[Target], definitions: Callable[[], dg.Definitions]) -> None:
        """Store the requests, and run the job on all pending ones."""
        from fruits_assets.erasure_job import JOB, require_no_run
        from fruits_assets.records.pause import paused
        from spark_src.erasure import requests

        with paused(self.instance) as switched_off:
            if switched_off:
                typer.echo(f"paused during the erasure: {', '.join(switched_off)}")
            self.records.require_supported()
            require_no_run(self.instance)
            for target in targets:
                if not requests.is_pending(self.tables, target):
                    requests.store(self.tables, target)
            wanted = [request.name for request in requests.pending(self.tables)]
            requests.require_pending(self.tables)
            typer.echo("erasing files and rows, then scanning every file: this takes minutes")
            _run(JOB, definitions(), self.instance)
        if switched_off:
            typer.echo(f"resumed: {', '.join(switched_off)}")
        for receipt in requests.receipts(self.tables, wanted):
            _show_receipt(receipt)
        say_next("check", "the results without the erased data")


def _ask_again(target: Target, source: Location) -> None:
    """Ask the user to repeat the name, because an erasure cannot be undone.

    Raises:
        ErasureError: the names differ.
    """
    from spark_src.erasure.target import subject_in_tables

    if target.subject is None:
        typer.confirm("Erase these pictures permanently?", abort=True)
        return
    answer = typer.prompt("This cannot be undone. Type the person's folder again", type=str)
    if subject_in_tables(answer, source) != target.subject:
        raise ErasureError("The names do not match. Nothing was changed.")


def _instance() -> AbstractContextManager[dg.DagsterInstance]:
    from fruits_assets.dagster_internals import cli_instance

    return cli_instance("fruits erase")


def _run(job: str, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    """Run the job in this process. The request is in the storage, not in the recorded config."""
    from fruits_assets.failures import sentence_of
    from fruits_assets.settings import load_settings

    resolved = definitions.resolve_job_def(job)
    with native_output_to(load_settings().scratch / LOG):
        result = resolved.execute_in_process(
            instance=instance, raise_on_error=False, run_config={"log_level": "CRITICAL"}
        )
    for entry in instance.all_logs(result.run_id):
        if not entry.is_dagster_event and int(entry.level) >= logging.WARNING:
            typer.echo(entry.user_message)
    (load_settings().scratch / LOG).unlink(missing_ok=True)  # it may contain names of pictures
    if not result.success:
        reasons = [sentence_of(e.step_failure_data.error) for e in result.get_step_failure_events()]
        raise ErasureError(
            f"{' '.join(reasons)} Run {result.run_id} did not finish: fix the error and run "
            "`fruits erase` again, which completes pending requests."
        )


def _show(found: Found, title: str) -> None:
    table = Table("location", "count", title=title)
    table.add_row("files under the input", f"{found.files:,}")
    if found.earlier:
        table.add_row("earlier versions of those files", f"{found.earlier:,}")
    if found.labels:
        table.add_row("rows of labels.csv", f"{found.labels:,}")
    for asset, count in found.rows.items():
        table.add_row(f"rows of {asset}", f"{count:,}")
    if found.uncommitted:
        table.add_row("rows in files outside the current versions", f"{found.uncommitted:,}")
    if found.other_files:
        table.add_row("other files and Dagster records", f"{found.other_files:,}")
    if found.shared:
        table.add_row("pictures also supplied by others (their copies stay)", f"{found.shared:,}")
    for heading, names in (
        ("with a similar name, not erased", found.similar),
        ("with that name outside photos/, not erased", found.elsewhere),
    ):
        for name in names:
            table.add_row(f"folder {heading}", escape(repr(name)))
    _print(table)


def _show_receipt(receipt: Location) -> None:
    done = json.loads(receipt.read())
    counts = {
        "files deleted from the input": done["inputs"]["files"],
        "rows deleted": done["rows"]["raw_images"] + done["rows"]["rejected_images"],
        "Dagster records redacted": done["proof"].get("redacted_records", 0),
        "files scanned afterwards": done["scan"]["files"],
        "traces found by the scan": done["scan"]["hits"],
    }
    table = Table("step", "count", title="Erased")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    _print(table)
    typer.echo(f"receipt: {receipt}")


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 100).print(table)
