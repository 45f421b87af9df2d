"""The command `fruits erase`. What is erased, and how: the job in erasure.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spark_src.errors import ErasureError
from spark_src.io.aws import use_region

if TYPE_CHECKING:
    import dagster as dg

    from fruits_assets.records.home import Records
    from spark_src.erasure.lookup import Found
    from spark_src.erasure.target import Target
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

Ids = Annotated[
    list[str] | None,
    typer.Option("--image-id", help="A picture's image_id; may be given several times."),
]


def erase(  # noqa: PLR0913, PLR0917 - the command's options
    subject: Annotated[str | None, typer.Option(help="A person: the folder under photos/.")] = None,
    image_ids: Ids = None,
    all_owners: Annotated[
        bool,
        typer.Option(
            "--all-owners",
            help="With --image-id: every copy, also where more than one supplied the picture.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what there is; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the name again.")] = False,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="After a backup was restored: erase again who was erased since it was made.",
        ),
    ] = False,
    erased_list: Annotated[
        str | None,
        typer.Option(help="With --replay: the folder that has the list, if not erasures/ there."),
    ] = None,
) -> None:
    """Erase a person's data: input, tables, PCA's sums, CSV, leftovers, Dagster's records.

    Then it scans every file. Safe to interrupt: the same command, or one without a name,
    completes what is pending. Sensor and automation are off meanwhile.
    """
    from fruits_assets.definitions import build_defs
    from fruits_assets.settings import load_settings
    from spark_src.erasure.target import Target, subject_in_tables
    from spark_src.io.locations import Location
    from spark_src.io.residency import require_in_region
    from spark_src.tables.delta import Tables

    settings = load_settings()
    use_region(settings.region)
    places = [settings.storage_location, settings.input_location]
    listed = [Location.parse(erased_list)] if erased_list else []
    require_in_region([*places, *listed], settings.region)
    tables, source = Tables(places[0]), places[1]
    named = subject is not None or bool(image_ids)
    if subject is not None:
        subject = subject_in_tables(subject, source)
    target = Target.from_names(subject, image_ids or (), all_owners) if named else None
    if replay == named and (replay or dry_run):
        raise ErasureError("Give either --subject ID or --image-id ID, or --replay.")
    with _instance() as instance:
        work = _Work(tables, source, instance)
        targets = work.erased_before(erased_list) if replay else [target] if target else []
        if (replay and not targets) or not work.confirm(targets, dry_run, yes, replay):
            return
        work.run(targets, lambda: build_defs(settings))


@dataclass(frozen=True)
class _Work:
    """The command's steps, on one storage and one instance of Dagster."""

    tables: Tables
    source: Location
    instance: dg.DagsterInstance

    @property
    def records(self) -> Records:
        from fruits_assets.records.home import Records

        return Records(self.instance, (self.tables.root, self.source))

    def erased_before(self, erased_list: str | None) -> list[Target]:
        """Who, of those that are there now, is on the list of what was erased."""
        from spark_src.erasure import erased
        from spark_src.erasure.people import image_ids, people
        from spark_src.io.locations import Location

        folder = Location.parse(erased_list) if erased_list else erased.folder_of(self.tables)
        entries = erased.load(folder)
        if not entries:
            raise ErasureError(
                f"{folder} has no list of what was erased. It lies under erasures/ of the storage "
                "that was in use last: give that folder with --erased-list."
            )
        names = people(self.tables, self.source) | self.records.people()
        found = erased.find(entries, names, image_ids(self.tables))
        if not found:
            typer.echo(f"Nothing that was erased is back: {len(entries):,} entries looked for.")
        return found

    def confirm(self, targets: list[Target], dry_run: bool, yes: bool, replay: bool) -> bool:
        """Show what there is, and ask; whether to go on."""
        from spark_src.erasure import requests
        from spark_src.erasure.lookup import find

        for target in targets:
            if not dry_run and requests.is_pending(self.tables, target):
                continue
            look_up = find if replay else requests.look_up
            found = look_up(self.tables, self.source, target, records=self.records.scan)
            whose = f" {target.subject!r}" if replay and target.subject else ""
            would = "What would be erased; nothing was changed" if dry_run else "To be erased"
            _show(found, would + whose)
            if not (dry_run or yes):
                _ask_again(target, self.source)
        return not dry_run

    def run(self, targets: list[Target], definitions: Callable[[], dg.Definitions]) -> None:
        """Keep the requests, and run the job on all that are pending."""
        from fruits_assets.erasure_job import JOB, require_no_run
        from fruits_assets.records.pause import paused
        from spark_src.erasure import requests

        with paused(self.instance) as switched_off:
            if switched_off:
                typer.echo(f"switched off until the end: {', '.join(switched_off)}")
            require_no_run(self.instance)
            for target in targets:
                if not requests.is_pending(self.tables, target):
                    requests.keep(self.tables, target)
            wanted = [request.name for request in requests.pending(self.tables)]
            requests.require_some(self.tables)
            _run(JOB, definitions(), self.instance)
        if switched_off:
            typer.echo(f"switched on again: {', '.join(switched_off)}")
        for receipt in requests.receipts(self.tables, wanted):
            _show_receipt(receipt)


def _ask_again(target: Target, source: Location) -> None:
    """Erasing cannot be taken back: a slip of the pen has to be made twice.

    Raises:
        ErasureError: the answer is another.
    """
    from spark_src.erasure.target import subject_in_tables

    if target.subject is None:
        typer.confirm("Erase these pictures for good?", abort=True)
        return
    answer = typer.prompt("This cannot be undone. Type the person's folder again", type=str)
    if subject_in_tables(answer, source) != target.subject:
        raise ErasureError("That is another name. Nothing was changed.")


def _instance() -> AbstractContextManager[dg.DagsterInstance]:
    from fruits_assets.dagster_internals import cli_instance

    return cli_instance("fruits erase")


def _run(job: str, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    """In this process, recorded as any run; the request is in the storage, not in its config."""
    resolved = definitions.resolve_job_def(job)
    result = resolved.execute_in_process(instance=instance, raise_on_error=False)
    if not result.success:
        raise ErasureError(
            f"Run {result.run_id} did not finish; Dagster's UI and the log above say why. Fix "
            "that and run `fruits erase` again: it completes what is pending."
        )


def _show(found: Found, title: str) -> None:
    table = Table("where", "how many", title=title)
    table.add_row("files under the input", f"{found.files:,}")
    if found.earlier:
        table.add_row("earlier versions of those files", f"{found.earlier:,}")
    for asset, count in found.rows.items():
        table.add_row(f"rows of {asset}", f"{count:,}")
    if found.uncommitted:
        table.add_row("rows in files of no current version", f"{found.uncommitted:,}")
    if found.other_files:
        table.add_row("other files and records of Dagster's", f"{found.other_files:,}")
    if found.shared:
        table.add_row("pictures that somebody else has, too: theirs stay", f"{found.shared:,}")
    for heading, names in (
        ("of nearly that name, which stays", found.similar),
        ("of that name outside photos/, which stays", found.elsewhere),
    ):
        for name in names:
            table.add_row(f"folder {heading}", escape(repr(name)))
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def _show_receipt(receipt: Location) -> None:
    done = json.loads(receipt.read())
    counts = {
        "files deleted": done["inputs"]["files"],
        "rows deleted": done["rows"]["raw_images"] + done["rows"]["rejected_images"],
        "files looked into": done["scan"]["files"],
        "records redacted": done["proof"].get("redacted_records", 0),
        "hits": done["scan"]["hits"],
    }
    typer.echo(", ".join(f"{name}: {count:,}" for name, count in counts.items()))
    typer.echo(str(receipt))
