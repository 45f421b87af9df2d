"""The command `fruits erase`. What is erased, and how: the job in erasure.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from spark_src.errors import ErasureError
from spark_src.io.aws import use_region

if TYPE_CHECKING:
    import dagster as dg

Ids = Annotated[
    list[str] | None,
    typer.Option("--image-id", help="A picture's image_id; may be given several times."),
]


def erase(
    subject: Annotated[str | None, typer.Option(help="A person: the folder under photos/.")] = None,
    image_ids: Ids = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what there is; change nothing.")
    ] = False,
) -> None:
    """Forget pictures: input, tables, PCA's sums, CSV, leftovers; then prove it.

    Safe to interrupt: the same command, or one without a name, completes what is pending.
    """
    from spark_src.storage import Storage

    from fruits_assets.definitions import build_defs
    from fruits_assets.erasure import JOB
    from fruits_assets.settings import load_settings
    from spark_src.erasure import requests as erasure_requests
    from spark_src.erasure.rows import Target, find
    from spark_src.io.residency import require_in_region

    settings = load_settings()
    use_region(settings.region)
    places = [settings.storage_location, settings.input_location]
    require_in_region(places, settings.region)
    versions, source = Storage(places[0]), places[1]
    target = Target.of(subject, image_ids or ()) if subject or image_ids else None
    if dry_run:
        if target is None:
            raise ErasureError("--dry-run needs --subject ID or --image-id ID.")
        found = find(versions, source, target)
        _show(len(found.inputs), found.rows)
        return
    if target is not None:
        erasure_requests.add(versions, source, target)
    wanted = [request.name for request in erasure_requests.pending(versions)]
    if not wanted:
        raise ErasureError("Nothing is pending: give --subject ID or --image-id ID.")
    _run(JOB, build_defs(settings))
    for receipt in erasure_requests.receipts(versions, wanted):
        typer.echo(str(receipt))


def _run(job: str, definitions: dg.Definitions) -> None:
    """In this process, recorded as any run; the request is in the storage, not in its config."""
    from dagster._cli.utils import get_possibly_temporary_instance_for_cli

    with get_possibly_temporary_instance_for_cli("fruits erase") as instance:
        resolved = definitions.resolve_job_def(job)
        result = resolved.execute_in_process(instance=instance, raise_on_error=False)
    if not result.success:
        raise ErasureError(
            f"Run {result.run_id} did not finish; Dagster's UI and the log above say why. Mend "
            "that and run `fruits erase` again: it completes what is pending."
        )


def _show(inputs: int, rows: dict[str, int]) -> None:
    table = Table("where", "theirs", title="What would be erased; nothing was changed")
    table.add_row("files under the input", f"{inputs:,}")
    for asset, count in rows.items():
        table.add_row(f"rows of {asset}", f"{count:,}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
