"""Build a copy of the notebook for a cluster's JupyterHub, with the code and the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fruits_assets.settings import PROJECT
from spark_src.io.locations import Location

NOTEBOOK = PROJECT / "notebooks" / "explore.ipynb"

KERNEL = {"name": "pysparkkernel", "display_name": "PySpark", "language": "python"}
"""Sparkmagic's kernel, which runs each cell through Livy in the packed environment."""


_SETUP = """\
import hashlib, os, sys

found = [entry for entry in sys.path if os.path.basename(entry) == {name!r}]
for entry in found:
    with open(entry, "rb") as file:
        if hashlib.sha256(file.read()).hexdigest() != {sha256!r}:
            raise RuntimeError(entry + " is not the code that this notebook was created for")
if not found:
    raise RuntimeError({name!r} + " is not on the path: run the cell above first")
os.environ.update({variables})
from fruits_assets.notebook import NotDrawn
{pictures} = map(NotDrawn, {names!r})
"""

_MATPLOT = re.compile(r"^%matplot (\w+)$", re.MULTILINE)


def for_cluster(code: Location, sha256: str, settings: Mapping[str, str]) -> str:
    """The notebook as JSON, with two set-up cells added at the top.

    Args:
        code: the project's code in S3, from `code_package`.
        sha256: the code's digest, verified before it is imported.
        settings: environment variables by name.
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
