"""Draws the imports between packages as a Mermaid graph. Run: uv run python docs/package_arrows.py.

Imports are counted in the working tree, or in the git revision given as argument.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("spark_src", "fruits_assets")
DEPTH = 2
"""Number of components of a package name, such as `spark_src.pca`."""


def sources(revision: str | None) -> Iterator[tuple[str, str]]:
    """Yield the path and text of every module."""
    if revision is None:
        for root in ROOTS:
            for file in sorted(Path(root).rglob("*.py")):
                yield str(file), file.read_text()
        return
    listed = _git("ls-tree", "-r", "--name-only", revision, *ROOTS).splitlines()
    for path in (path for path in listed if path.endswith(".py")):
        yield path, _git("show", f"{revision}:{path}")


def arrows(revision: str | None) -> Counter[tuple[str, str]]:
    """Count the imports between each pair of packages."""
    found: Counter[tuple[str, str]] = Counter()
    for path, text in sources(revision):
        source = _package(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        for node in ast.walk(ast.parse(text)):
            for name in _imported(node):
                target = _package(name)
                if name.startswith(ROOTS) and target != source:
                    found[source, target] += 1
    return found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _package(module: str) -> str:
    return ".".join(module.split(".")[:DEPTH])


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout  # noqa: S607


def main() -> None:
    """Print the graph, and the number of pairs that import each other."""
    found = arrows(sys.argv[1] if len(sys.argv) > 1 else None)
    print("flowchart TD")
    for (source, target), count in sorted(found.items()):
        print(f"    {source} -- {count} --> {target}")
    packages = {name for arrow in found for name in arrow}
    mutual = sum((target, source) in found for source, target in found) // 2
    print(f"%% {len(packages)} packages, {len(found)} arrows, {mutual} pairs import each other")


if __name__ == "__main__":
    main()
