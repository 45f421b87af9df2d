"""How an asset fails: `dg.Failure` with one sentence, its cause and its remedy. No work here."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from fruits_assets.dagster_internals import DagsterExecutionInterruptedError
from fruits_assets.settings import did_you_mean, load_settings
from spark_src.contract import PREFIXES
from spark_src.errors import FruitsError, SettingsError

TRACEBACK = "FRUITS_TRACEBACK"
"""Set to anything, it keeps the whole chain of exceptions."""

INGEST = "ingest"
"""The op that makes `raw_images` and `rejected_images`."""

OPS = (INGEST, *(name for name in PREFIXES if name not in ("raw_images", "rejected_images")))
"""Every op of an asset, as the run config names it."""

UNEXPECTED = "This error is unexpected"

_FULL = "No space left on device"

AssetFunction = TypeVar("AssetFunction", bound=Callable[..., Any])


def one_sentence(function: AssetFunction) -> AssetFunction:
    """Make a known error of an asset's body a `dg.Failure`, and an interrupted run a canceled one.

    Put it directly above the function: Dagster sees the function's own arguments.
    """
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(context: Any, **inputs: Any) -> Iterator[Any]:
            with failures(context):
                _require_known_ops(context)
                yield from function(context, **inputs)

        return generate  # type: ignore[return-value]

    @functools.wraps(function)
    def call(context: Any, **inputs: Any) -> Any:
        with failures(context):
            _require_known_ops(context)
            return function(context, **inputs)

    return call  # type: ignore[return-value]


@contextmanager
def failures(context: Any) -> Iterator[None]:
    """Inside the block a known error becomes a `dg.Failure`; nobody's trace is part of it."""
    try:
        yield
    except (KeyboardInterrupt, DagsterExecutionInterruptedError):
        _cancel(context)
        raise
    except FruitsError as error:
        failure = _failure(str(error), error)
        raise failure from (error if os.environ.get(TRACEBACK) else None)
    except Exception as error:
        if not is_disk_full(error):
            raise
        failure = _failure(disk_full(error), error)
        raise failure from (error if os.environ.get(TRACEBACK) else None)


def _require_known_ops(context: Any) -> None:
    """Dagster ignores what is set for an op that does not exist, and defaults are used.

    Raises:
        SettingsError: with the nearest name.
    """
    for name in context.run.run_config.get("ops", {}):
        if name not in OPS:
            raise SettingsError(
                f"The run config sets ops.{name}, and there is no such op: "
                f"{did_you_mean(name, OPS)} Correct the name; nothing was made."
            )


def _cancel(context: Any) -> None:
    """Dagster marks an interrupted run as failed unless somebody asked for its end before."""
    instance = getattr(context, "step_context", context).instance
    run = instance.get_run_by_id(context.run_id)
    asked = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
    if run is not None and not run.is_finished and run.status not in asked:
        instance.report_run_canceling(run)


def _failure(sentence: str, error: BaseException) -> dg.Failure:
    details: Mapping[str, object] = getattr(error, "details", {})
    metadata = {"error": type(error).__name__, **details}
    return dg.Failure(sentence, metadata, allow_retries=False)  # type: ignore[arg-type]


def is_disk_full(error: BaseException | None) -> bool:
    """Whether the operating system, Arrow or Spark said that there is no room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _FULL in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(error: BaseException) -> str:
    """The sentence: where, how much is free, what to do."""
    storage = load_settings().storage_location
    place = getattr(error, "filename", None) or storage.path
    if storage.scheme != "file" and place == storage.path:
        return "The disk of this machine is full: make room there and start the run again."
    folder = str(place)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free / 1e6
    return (
        f"The disk of {place} is full ({free:,.0f} MB are free). `uv run fruits doctor` "
        "says how much the pictures need: make room, or set FRUITS_STORAGE to a folder on a larger "
        "disk, and start the run again. What was finished stays."
    )


def sentence_of(error: SerializableErrorInfo | None) -> str:
    """The last cause of an error that Dagster recorded, without the name of a known class."""
    if error is None:
        return "no reason given"
    while error.cause is not None:
        error = error.cause
    first = error.message.strip()
    name, separator, rest = first.partition(": ")
    if not separator or " " in name:
        return first
    if name.startswith(("spark_src.errors.", "dagster.")) or name.endswith(".Failure"):
        return rest
    return f"{first} {UNEXPECTED}: the run's page in `uv run dagster dev` shows its traceback."
