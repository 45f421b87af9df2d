"""The command `fruits erase`. What is erased, and how: the job in erasure.py."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spark_src.errors import ErasureError
from spark_src.io.aws import use_region

if TYPE_CHECKING:
    import dagster as dg

    from spark_src.erasure.lookup import Found
    from spark_src.erasure.target import Target
    from spark_src.io.locations import Location

Ids = Annotated[
    list[str] | None,
    typer.Option("--image-id", help="A picture's image_id; may be given several times."),
]


def erase(
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
) -> None:
    """Erase a person's data: input, tables, PCA's sums, CSV, leftovers; then look into every file.

    Safe to interrupt: the same command, or one without a name, completes what is pending.
    """
    from fruits_assets.definitions import build_defs
    from fruits_assets.erasure_job import JOB
    from fruits_assets.settings import load_settings
    from spark_src.erasure import requests
    from spark_src.erasure.target import Target
    from spark_src.io.residency import require_in_region
    from spark_src.tables.delta import Tables

    settings = load_settings()
    use_region(settings.region)
    places = [settings.storage_location, settings.input_location]
    require_in_region(places, settings.region)
    tables, source = Tables(places[0]), places[1]
    named = subject is not None or bool(image_ids)
    target = Target.from_names(subject, image_ids or (), all_owners) if named else None
    if dry_run and target is None:
        raise ErasureError("--dry-run needs --subject ID or --image-id ID.")
    found = None
    if target is not None and (dry_run or not requests.is_pending(tables, target)):
        found = requests.look_up(tables, source, target)
        _show(found, "What would be erased; nothing was changed" if dry_run else "To be erased")
        if dry_run:
            return
        if not yes:
            _ask_again(target)
    _require_no_run()
    if target is not None:
        requests.add(tables, source, target, found)
    wanted = [request.name for request in requests.pending(tables)]
    requests.require_some(tables)
    _run(JOB, build_defs(settings))
    for receipt in requests.receipts(tables, wanted):
        _show_receipt(receipt)


def _ask_again(target: Target) -> None:
    """Erasing cannot be taken back: a slip of the pen has to be made twice.

    Raises:
        ErasureError: the answer is another.
    """
    if target.subject is None:
        typer.confirm("Erase these pictures for good?", abort=True)
        return
    answer = typer.prompt("This cannot be undone. Type the person's folder again", type=str)
    if answer != target.subject:
        raise ErasureError("That is another name. Nothing was changed.")


def _require_no_run() -> None:
    from fruits_assets.dagster_internals import cli_instance
    from fruits_assets.erasure_job import require_no_run

    with cli_instance("fruits erase") as instance:
        require_no_run(instance)


def _run(job: str, definitions: dg.Definitions) -> None:
    """In this process, recorded as any run; the request is in the storage, not in its config."""
    from fruits_assets.dagster_internals import cli_instance

    with cli_instance("fruits erase") as instance:
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
        table.add_row("other files under the storage", f"{found.other_files:,}")
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
        "hits": done["scan"]["hits"],
    }
    typer.echo(", ".join(f"{name}: {count:,}" for name, count in counts.items()))
    typer.echo(str(receipt))
