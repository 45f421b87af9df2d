"""The reference pages match the code: settings, run configuration, columns, reasons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fruits_assets.catalog import CATALOG
from fruits_assets.checks import CHECKS
from fruits_assets.definitions import build_defs
from fruits_assets.settings import PROJECT, Settings
from spark_src import errors
from spark_src.contract import PREFIXES
from spark_src.images.rejection import Reason
from spark_src.tables.registry import TABLES
from spark_src.tables.schemas import type_name

DOCS = PROJECT / "docs"


def table_rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = re.split(r"\n##+ ", text.split(f"{heading}\n", 1)[1])[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def shown(value: object) -> str:
    return "none" if value is None else str(value).removeprefix(f"{PROJECT}/")


def test_every_setting_is_documented_with_its_default() -> None:
    rows = table_rows((DOCS / "configuration.md").read_text(), "## Settings")
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows}
    assert documented == {
        f"FRUITS_{name.upper()}": shown(field.get_default())
        for name, field in Settings.model_fields.items()
    }


def test_every_key_of_the_run_configuration_is_documented_with_its_default() -> None:
    rows = table_rows((DOCS / "configuration.md").read_text(), "## Run configuration")
    documented = {row[0].strip("`"): row[1] for row in rows}
    assert documented == configured()


def configured() -> dict[str, str]:
    """The default of each config key of the asset ops."""
    found: dict[str, Any] = {}
    for asset in assets():
        fields = getattr(asset.op.config_schema.config_type, "fields", {})
        known = getattr(fields.get("config"), "config_type", None)
        for name, field in (getattr(known, "fields", None) or fields).items():
            found[f"{asset.op.name}.config.{name}"] = str(field.default_value)
    return found


def assets() -> list[dg.AssetsDefinition]:
    return [one for one in build_defs().assets or () if isinstance(one, dg.AssetsDefinition)]


@pytest.mark.parametrize("asset", TABLES)
def test_the_documented_columns_are_those_of_the_table(asset: str) -> None:
    rows = table_rows((DOCS / "data.md").read_text(), f"### `{asset}`: `{PREFIXES[asset]}/`")
    assert [(row[0].strip("`"), row[1].strip("`"), row[2]) for row in rows] == [
        (field.name, type_name(field.type), field.metadata[b"comment"].decode())
        for field in TABLES[asset]
    ]
    assert all(len(row) == 5 and row[4] for row in rows)  # each column has an example


def test_every_reason_of_a_rejected_file_is_documented() -> None:
    rows = table_rows((DOCS / "data.md").read_text(), "## Why a file is rejected")
    assert {reason.value for reason in Reason} <= {row[0].strip("`") for row in rows}


def test_every_check_is_documented_with_its_asset_and_whether_it_blocks() -> None:
    specs = [spec for check in CHECKS for spec in check.check_specs]
    checks = {
        (f"`{spec.asset_key.to_user_string()}`", f"`{spec.name}`", "yes" if spec.blocking else "no")
        for spec in specs
    }
    rows = table_rows((DOCS / "data.md").read_text(), "## Checks")
    assert {(row[0], row[1], row[3]) for row in rows} == checks


def test_every_asset_is_in_the_readme() -> None:
    rows = table_rows((PROJECT / "README.md").read_text(), "## What it makes")
    assert [row[0].strip("`") for row in rows] == list(CATALOG)


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


def test_every_kind_of_error_has_an_entry_under_troubleshooting() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    kinds = [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.FruitsError)
    ]
    bases = {"FruitsError", "StorageError"}
    assert [name for name in kinds if name not in bases and f"`{name}`" not in text] == []


def test_every_message_under_troubleshooting_is_in_the_code() -> None:
    """Messages are quoted up to their first value."""
    text = (DOCS / "troubleshooting.md").read_text()
    sources = [
        file.read_text()
        for folder in ("spark_src", "fruits_assets")
        for file in (PROJECT / folder).rglob("*.py")
    ]
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    quoted = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    parts = [part.strip() for message in quoted for part in message.split("…") if part.strip()]
    assert quoted
    assert [part for part in parts if part not in code] == []


def test_links_between_the_pages_are_valid() -> None:
    pages = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not Path(page.parent / target).exists()
    ]
    assert broken == []
