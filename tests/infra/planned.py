"""The complete Terraform plan as tables, compared with those in tests/infra/planned/.

    uv run python -m tests.infra.planned           prints differences, with exit code 1
    uv run python -m tests.infra.planned --write   rewrites the tables: review the complete diff

Each table is one `run` of planned.tftest.hcl: every resource with every argument that is set,
policies as statements. The second and third table contain only differences from the first. The
first also quotes the blocks of the source that no plan contains, such as those of providers.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.infra.module import copy, init, terraform

TABLES = Path(__file__).with_suffix("")
RUNS = ("roles", "options", "paused_for_the_end")
_TESTS = "-filter=tests/planned.tftest.hcl"
_MADE_UP = re.compile(r"[a-z0-9]{8}")
"""A mock's value for an identifier that AWS would assign."""

_REFERRED_TO = ("id", "prefix_list_id")
_LEFT_OUT = ("tags_all", "source_hash")  # derived from other values and files

_RESOURCE = re.compile(r'^resource "(\w+)" "(\w+)"', re.MULTILINE)
_UNPLANNED = re.compile(
    r"""^(?P<indent>[ \t]*)(?P<text>
        (?:check|connection|data|ephemeral|import|lifecycle|module|moved|provider|provisioner|removed|terraform)\b
        [^{\n]*\{(?:[^{}\n]*\}|.*?^(?P=indent)\})
        |provider[ \t]*=[^\n]*
    )""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
"""Blocks and arguments that a plan does not contain."""

Resources = dict[str, Any]


class PlanError(Exception):
    """Terraform could not plan."""


def plans(module: Path, runs: tuple[str, ...] = RUNS) -> dict[str, Resources]:
    """The plan of each run: arguments by resource address.

    Args:
        module: a copy of the module, which is modified.
        runs: a prefix of `RUNS`; fewer runs take less time.

    Raises:
        PlanError: the module is not valid.
    """
    tests, whole = module / "tests" / "planned.tftest.hcl", ""
    if len(runs) < len(RUNS):
        whole = tests.read_text()
        tests.write_text(whole.split(f'run "{RUNS[len(runs)]}"')[0])
    done = terraform(module, "test", "-json", "-verbose", _TESTS, check=False)
    if whole:
        tests.write_text(whole)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    source = "".join(file.read_text() for file in module.glob("*.tf"))
    found = {
        message["@testrun"]: _resources(message["test_plan"]["resource_changes"], source)
        for message in messages
        if message["type"] == "test_plan"
    }
    if set(found) != set(runs):
        errors = [m["diagnostic"] for m in messages if m["type"] == "diagnostic"]
        raise PlanError(str(errors[0]) if errors else done.stdout + done.stderr)
    return found


def tables(module: Path, runs: tuple[str, ...] = RUNS) -> dict[str, str]:
    """The plan of each run, as the text of its table."""
    found = plans(module, runs)
    first = found[runs[0]]
    texts = {runs[0]: _text(first | {"not in the plan": unplanned(module)})}
    for name in runs[1:]:
        changed = {k: v for k, v in found[name].items() if first.get(k) != v}
        texts[name] = _text(changed | {f"gone: {k}": None for k in first if k not in found[name]})
    return texts


def unplanned(module: Path) -> list[list[str]]:
    """The lines of each block that a plan does not contain, after the name of its resource."""
    found = []
    for file in sorted(module.glob("*.tf")):
        source = re.sub(r"^ *#.*\n", "", file.read_text(), flags=re.MULTILINE)
        for block in _UNPLANNED.finditer(source):
            before = _RESOURCE.findall(source, 0, block.start()) if block["indent"] else []
            lines = [" ".join(line.split()) for line in block["text"].splitlines()]
            found.append(
                [".".join(name) for name in before[-1:]] + [line for line in lines if line]
            )
    return found


def differences(module: Path, runs: tuple[str, ...] = RUNS) -> str:
    """The diff between the reviewed tables and the plan; empty if they are equal."""
    lines: list[str] = []
    for name, text in tables(module, runs).items():
        reviewed = (TABLES / f"{name}.yaml").read_text().splitlines()
        lines += difflib.unified_diff(reviewed, text.splitlines(), name, "planned", "", "", 1, "")
    return "\n".join(lines)


def _resources(changes: list[dict[str, Any]], source: str) -> Resources:
    planned = {c["address"]: c["change"]["after"] for c in changes if c["mode"] == "managed"}
    names: dict[str, str | None] = {}
    for address, values in sorted(planned.items()):
        for field, value in values.items():
            if isinstance(value, str) and _MADE_UP.fullmatch(value) and value not in source:
                known = names.get(value)
                names[value] = f"${{{address}.{field}}}" if field in _REFERRED_TO else known
    return {
        address: {
            field: value
            for field, value in _tidy(values, names).items()
            if field not in _LEFT_OUT and not str(value).startswith(f"${{{address}.")
        }
        for address, values in sorted(planned.items())
    }


def _tidy(value: Any, names: dict[str, str | None]) -> Any:
    """The value without unset and mocked values, and with JSON documents parsed."""
    if isinstance(value, dict):
        tidied = {key: _tidy(item, names) for key, item in sorted(value.items())}
        return {key: item for key, item in tidied.items() if item not in (None, [], {}, "")}
    if isinstance(value, list):
        return [_tidy(item, names) for item in value]
    if not isinstance(value, str):
        return value
    return _tidy(json.loads(value), names) if value[:1] in ("{", "[") else names.get(value, value)


def _text(resources: Resources) -> str:
    return yaml.safe_dump(resources, width=150, sort_keys=True, allow_unicode=True)


def main() -> int:
    """Compare or rewrite the tables."""
    with tempfile.TemporaryDirectory() as folder:
        module = copy(Path(folder) / "module")
        init(module)
        if "--write" in sys.argv[1:]:
            TABLES.mkdir(exist_ok=True)
            for name, text in tables(module).items():
                (TABLES / f"{name}.yaml").write_text(text)
            return 0
        found = differences(module)
    sys.stdout.write(found or "planned: as in tests/infra/planned/\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
