"""infra/README.md and docs/gdpr.md match the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fruits_assets.emr.cost import price
from tests.infra.module import PROJECT

GDPR = PROJECT / "docs" / "gdpr.md"
README = (PROJECT / "infra" / "README.md").read_text()
QUOTES = re.findall(r"\[`([^`]+)`\]\(([^)]+)\)", GDPR.read_text())

HOURS, NODES, DISK_GB = 730, 3, 104
ENDPOINT, GP3, S3, KEY, SECRET = 0.011, 0.088, 0.023, 1.0, 0.4
"""USD per hour; per GB-month, twice; per month, twice. As in the README."""


@pytest.mark.parametrize(("quote", "file"), QUOTES, ids=[quote for quote, _ in QUOTES])
def test_each_quoted_line_and_test_exists(quote: str, file: str) -> None:
    assert quote in (GDPR.parent / file).read_text()


def test_every_measure_has_code_and_a_test() -> None:
    table = GDPR.read_text().split("\n## ", 1)[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 15
    assert all(len(row) == 4 and "](../" in row[2] and "`" in row[3] for row in rows)


def test_the_costs_match_the_price_table() -> None:
    node = price("m5.xlarge")
    assert node is not None
    services = (PROJECT / "infra" / "endpoints.tf").read_text().split("interface_services = [")[1]
    endpoints = len(re.findall(r'"[a-z0-9]+"', services.split("]")[0]))
    paused = 2 * KEY + SECRET + 10 * S3
    idle = paused + endpoints * ENDPOINT * HOURS
    nodes, disks = NODES * node, NODES * DISK_GB * GP3 / HOURS
    hour = nodes + disks + endpoints * ENDPOINT
    said = [
        f"| 0.00 | {paused:.2f} |",
        f"{endpoints} endpoints | {endpoints * ENDPOINT:.2f} | {idle:.2f} |",
        f"1 + 2 m5.xlarge ({nodes:.2f}) and their disks ({disks:.2f}) | {hour:.2f} | "
        f"{paused + hour * HOURS:.0f} if it never ended |",
        f"a month of 30 hours' work | | {idle + 30 * (nodes + disks):.2f} |",
    ]
    assert [line for line in said if line not in README] == []


def test_the_disk_size_matches_the_costs() -> None:
    text = (PROJECT / "infra" / "emr.tf").read_text()
    root = re.search(r"root_volume_gb +=\s(\d+)", text)
    data = re.findall(r" size = (\d+)", text)
    assert root is not None
    assert int(root[1]) + int(data[0]) == DISK_GB


def test_every_file_of_the_module_is_in_the_readme() -> None:
    missing = [f.name for f in _module_files() if f"`{f.name}`" not in README]
    assert missing == []


def _module_files() -> list[Path]:
    left_out = {"outputs.tf", "variables.tf", "names.tf", "versions.tf", "backend.tf"}
    return [file for file in (PROJECT / "infra").glob("*.tf") if file.name not in left_out]


def test_the_readme_counts_the_mutations() -> None:
    tables = sorted((PROJECT / "tests" / "infra").glob("mutations*.toml"))
    count = sum(table.read_text().count("[[mutation]]") for table in tables)
    assert f"{count} weakened copies" in README


BY_TAG = {
    "amazonlinux:2023.11.20260427.1",
    "hashicorp/terraform:1.11.4",
    "amazon/aws-cli:2.37.5",
    "nginxinc/nginx-unprivileged:1.28.0-bookworm",
}
"""Images whose digest was not available during development: see infra/README.md."""


def test_actions_are_pinned_to_a_commit() -> None:
    used = re.findall(r"uses: (\S+)", (PROJECT / ".github/workflows/ci.yaml").read_text())
    assert used
    assert [one for one in used if not re.search(r"@[0-9a-f]{40}$", one)] == []


def test_images_are_pinned_to_a_digest_or_listed_in_the_readme() -> None:
    files = [*(PROJECT / "infra").rglob("Dockerfile"), *(PROJECT / "infra").rglob("compose.yaml")]
    lines = "\n".join(file.read_text() for file in files)
    named = set(re.findall(r"^\s*(?:FROM|image:) (\S+)", lines, re.MULTILINE))
    foreign = {image for image in named if image not in ("scratch", "fruits-host")}
    assert {image for image in foreign if "@sha256:" not in image} == BY_TAG
    assert all(image in README for image in BY_TAG)
