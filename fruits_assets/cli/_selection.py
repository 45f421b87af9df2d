"""Validate the asset selection and run config of `fruits run` before anything starts."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fruits_assets.settings import did_you_mean
from spark_src.contract import PREFIXES
from spark_src.errors import SettingsError

if TYPE_CHECKING:
    import dagster as dg

_TERM = re.compile(r"[+*\d]*(?P<name>\w+)[+*\d]*")
"""An asset with optional `+` or `*`: `pca_model+`. Dagster parses other terms (`group:…`)."""

RunConfig = dict[str, dict[str, dict[str, Any]]]


def require_names(selections: Sequence[str], values: Sequence[str]) -> None:
    """Refuse unknown asset names and contradictions before Dagster is imported and Spark starts.

    Raises:
        SettingsError: the selection is empty, an asset does not exist (the message suggests the
            closest name), or a field is set twice.
    """
    if selections and not _terms(selections):
        raise SettingsError("--select is empty: name an asset, or '*', or leave it out.")
    for term in _terms(selections):
        match = _TERM.fullmatch(term)
        if match and match["name"] not in PREFIXES:
            name = match["name"]
            raise SettingsError(f"--select: there is no asset {name}: {_suggest(name, PREFIXES)}")
    for value in values:
        name, *_ = _split(value)
        if name not in (*PREFIXES, "ingest"):
            raise SettingsError(
                f"--set {value}: there is no asset {name}: {_suggest(name, PREFIXES)}"
            )
    fields = Counter(value.partition("=")[0].strip() for value in values)
    for field, count in fields.items():
        if count > 1:
            raise SettingsError(f"{field} is set {count} times, by --set or -k: set it only once.")


def _terms(selections: Sequence[str]) -> list[str]:
    return [term.strip() for text in selections for term in text.split(",") if term.strip()]


def select(graph: Any, selections: Sequence[str]) -> list[dg.AssetKey]:
    """The selected assets, with the semantics of Dagster's own `--select`.

    Raises:
        SettingsError: the selection is invalid or empty.
    """
    import dagster as dg

    terms = _terms(selections)
    try:
        keys = dg.AssetSelection.from_coercible(terms).resolve(graph)
    except dg.DagsterError as error:
        raise SettingsError(
            f"--select {','.join(terms)} is not valid ({str(error).splitlines()[0]}). Name "
            "assets, with + for one more layer and * for all upstream or downstream assets: "
            f"{', '.join(PREFIXES)}."
        ) from error
    if not keys:
        raise SettingsError(f"--select {','.join(terms)} selects nothing: name an asset, or '*'.")
    return sorted(keys)


def run_config(assets: Iterable[dg.AssetsDefinition], values: Sequence[str]) -> RunConfig:
    """Dagster's run config from `asset.field=value`; values are parsed as JSON, otherwise text.

    Raises:
        SettingsError: the asset or field does not exist, or the value is invalid.
    """
    ops = {key.to_user_string(): asset for asset in assets for key in asset.keys}
    ops |= {asset.op.name: asset for asset in assets}
    given: dict[str, dict[str, Any]] = {}
    for value in values:
        name, field, content = _split(value)
        fields = _fields(ops[name])
        if field not in fields:
            raise SettingsError(f"--set {value}: {name} has no {field}: {_suggest(field, fields)}")
        given.setdefault(ops[name].op.name, {})[field] = content
    by_op = {asset.op.name: asset for asset in ops.values()}
    for op, config in given.items():
        _require_valid(by_op[op], op, config)
    return {"ops": {op: {"config": config} for op, config in given.items()}} if given else {}


def _split(text: str) -> tuple[str, str, Any]:
    left, equals, right = text.partition("=")
    name, dot, field = left.strip().partition(".")
    if not (equals and dot and name and field):
        raise SettingsError(
            f"--set {text}: write asset.field=value, e.g. --set pca_model.n_components=20."
        )
    try:
        return name, field, json.loads(right)
    except ValueError:
        return name, field, right


def _suggest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return did_you_mean(name, names) if names else "it has no settings."


def config_class(asset: dg.AssetsDefinition) -> type[dg.Config] | None:
    """The class of an asset's `config`, if it takes one."""
    function = asset.op.compute_fn.decorated_fn  # type: ignore[union-attr]
    found = inspect.signature(function).parameters.get("config")
    return None if found is None else found.annotation


def _fields(asset: dg.AssetsDefinition) -> list[str]:
    found = config_class(asset)
    return list(found.model_fields) if found else []


def _require_valid(asset: dg.AssetsDefinition, op: str, values: Mapping[str, Any]) -> None:
    import dagster as dg

    kind = config_class(asset)
    if kind is None:
        return
    try:
        kind(**values)
    except dg.Failure as failure:
        raise SettingsError(f"--set {op}.{failure.description}") from failure
