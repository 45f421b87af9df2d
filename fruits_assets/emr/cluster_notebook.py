"""The notebook for a cluster's JupyterHub: a copy that tells Livy the code and the settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fruits_assets.settings import PROJECT
from spark_src.io.locations import Location

NOTEBOOK = PROJECT / "notebooks" / "explore.ipynb"

KERNEL = {"name": "pysparkkernel", "display_name": "PySpark", "language": "python"}
"""Sparkmagic's, which sends each cell to Livy: it runs where the packed environment is."""


def for_cluster(code: Location, settings: Mapping[str, str]) -> str:
    """The notebook's file, with two cells before its own.

    Args:
        code: the project's own code in S3, as `code_package` has it.
        settings: variables by name.
    """
    session = json.dumps({"pyFiles": [code.hadoop]})
    variables = json.dumps(dict(settings), indent=4)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    notebook["cells"] = [
        _cell("session", f"%%configure -f\n{session}"),
        _cell("variables", f"import os\n\nos.environ.update({variables})"),
        *notebook["cells"],
    ]
    notebook["metadata"] = {"kernelspec": KERNEL}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cell(name: str, source: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"execution_count": None, "metadata": {}, "outputs": []}
    return {"cell_type": "code", "id": name, "source": source, **empty}
