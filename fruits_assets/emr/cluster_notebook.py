"""The notebook for a cluster's JupyterHub: a copy that tells Livy the code and the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fruits_assets.settings import PROJECT
from spark_src.io.locations import Location

NOTEBOOK = PROJECT / "notebooks" / "explore.ipynb"

KERNEL = {"name": "pysparkkernel", "display_name": "PySpark", "language": "python"}
"""Sparkmagic's, which sends each cell to Livy: it runs where the packed environment is."""


_SETUP = """\
import hashlib, os, sys

found = [entry for entry in sys.path if os.path.basename(entry) == {name!r}]
for entry in found:
    with open(entry, "rb") as file:
        if hashlib.sha256(file.read()).hexdigest() != {sha256!r}:
            raise RuntimeError(entry + " is not the code that this notebook was written with")
if not found:
    raise RuntimeError({name!r} + " is not on the path: run the cell above first")
os.environ.update({variables})
from fruits_assets.notebook import NotDrawn
{pictures} = map(NotDrawn, {names!r})
"""

_MATPLOT = re.compile(r"^%matplot (\w+)$", re.MULTILINE)


def for_cluster(code: Location, sha256: str, settings: Mapping[str, str]) -> str:
    """The notebook's file, with two cells before its own.

    Args:
        code: the project's own code in S3, as `code_package` has it.
        sha256: of the code, verified before any of it is imported.
        settings: variables by name.
    """
    session = json.dumps({"pyFiles": [code.hadoop]})
    variables = json.dumps(dict(settings), indent=4)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names = [name for cell in notebook["cells"] for name in _MATPLOT.findall(_source(cell))]
    setup = _SETUP.format(
        name=code.name,
        sha256=sha256,
        variables=variables,
        pictures=", ".join([*names, "*_"]),
        names=names,
    )
    notebook["cells"] = [
        _cell("session", f"%%configure -f\n{session}"),
        _cell("variables", setup.rstrip()),
        *notebook["cells"],
    ]
    notebook["metadata"] = {"kernelspec": KERNEL}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _source(cell: Mapping[str, Any]) -> str:
    return "".join(cell["source"])


def _cell(name: str, source: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"execution_count": None, "metadata": {}, "outputs": []}
    return {"cell_type": "code", "id": name, "source": source, **empty}
