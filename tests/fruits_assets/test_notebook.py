"""The notebook: Run All works in Jupyter and, by Livy, on a cluster; committed without outputs."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

from fruits_assets.cli.main import main
from fruits_assets.emr import cluster_notebook
from fruits_assets.notebook import pictures_to_show
from fruits_assets.previews import Gallery
from spark_src.contract import FOLDERS
from spark_src.errors import NothingStoredError, SettingsError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.cluster_env import on_a_node
from tests.livy import run_cell

Cells = dict[str, Any]
PNG = b"\x89PNG"
LIVY = (Path(__file__).parents[1] / "livy.py").read_text()


def notebook() -> Any:
    return nbformat.read(cluster_notebook.NOTEBOOK, as_version=4)


def code_of(document: Any) -> dict[str, str]:
    return {cell.id: cell.source for cell in document.cells if cell.cell_type == "code"}


@pytest.fixture(scope="module")
def executed(
    stored: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Each cell's text and images after running all cells in a kernel of the project's Python."""
    document = notebook()
    specs = KernelSpecManager(kernel_dirs=[])  # not the kernels installed on this machine
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    runner = NotebookClient(
        document,
        timeout=60,
        km=kernel,
        resources={"metadata": {"path": str(cluster_notebook.NOTEBOOK.parent)}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRUITS_STORAGE", str(stored))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        started = time.monotonic()
        runner.execute()
        seconds = time.monotonic() - started
    print(f"\nnotebooks/explore.ipynb: {len(code_of(document))} cells in {seconds:.1f} s")  # noqa: T201 - shown with -s
    cells = [cell for cell in document.cells if cell.cell_type == "code"]
    texts = {
        cell.id: "".join(out.text for out in cell.outputs if out.output_type == "stream")
        for cell in cells
    }
    images = {
        cell.id: [out.data["image/png"] for out in cell.outputs if "data" in out] for cell in cells
    }
    return texts, images


def test_it_is_committed_without_outputs_and_counts() -> None:
    document = notebook()
    nbformat.validate(document)
    cells = [cell for cell in document.cells if cell.cell_type == "code"]
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count] == []
    assert "widgets" not in document.metadata


def test_it_shows_ten_steps_with_short_cells_and_short_texts() -> None:
    document = notebook()
    texts = [cell.source for cell in document.cells if cell.cell_type == "markdown"]
    numbers = [int(n) for text in texts for n in re.findall(r"^## (\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, 11))
    assert max(len(text.splitlines()) for text in texts) <= 5
    assert max(len(source.splitlines()) for source in code_of(document).values()) <= 20


def test_run_all_reaches_the_end_and_shows_each_steps_output(
    executed: tuple[dict[str, str], dict[str, list[str]]],
) -> None:
    texts, images = executed
    assert [name for name, source in code_of(notebook()).items() if not texts[name]] == [
        name for name, found in images.items() if found
    ]
    assert "240 files" in texts["listing"]
    assert "240 pictures" in texts["raw"]
    assert "240 + 0 + 0 ignored = 240 files" in texts["rejected"]
    assert "(1, 224, 224, 3) in, (1, 1280) out" in texts["model"]
    assert " to 1.000" in texts["pixels"]
    assert "50 components keep 93." in texts["pca"]
    assert re.search(r"90% takes \d+ components\n95% takes \d+ components", texts["pca"])
    assert "(240, 1280) became (240, 50)" in texts["components"]
    assert re.search(r"rotation axes: \d\d.\d% right", texts["classifier"])
    assert "pca_0" in texts["csv"]
    assert "0 exact duplicates" in texts["health"]
    assert " of 240 labels may be wrong" in texts["labels"]
    assert re.search(r"^fruit: accuracy \d\d.\d%, ECE 0\.\d+$", texts["classify"], re.MULTILINE)
    assert re.search(r"the example is (.+); \1 has \d\d", texts["classify"])
    assert re.search(r"^ +1 .* 0\.0+$", texts["search"], re.MULTILINE)


def test_it_computes_what_is_stored(
    executed: tuple[dict[str, str], dict[str, list[str]]],
) -> None:
    texts, _ = executed
    assert "the same model: True" in texts["features"]
    for name in ("features", "components"):
        (difference,) = re.findall(r"greatest difference.* (\S+)$", texts[name], re.MULTILINE)
        assert float(difference) < 1e-4


def test_without_assets_the_first_cell_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(tmp_path / "empty"))
    first = next(iter(code_of(notebook()).values()))
    with pytest.raises(NothingStoredError, match="uv run dagster asset materialize --select"):
        run_cell(first, {})


def test_possibly_personal_pictures_are_not_shown_by_default(stored: Path) -> None:
    tables = Tables(Location.parse(str(stored)))
    images = tables.current("raw_images")

    class Private(Gallery):
        def may_show(self, row: dict[str, Any]) -> bool:
            return self.show_photos

    with pytest.raises(SettingsError, match="FRUITS_SHOW_PHOTOS=true"):
        pictures_to_show(Private(tables), images)
    assert pictures_to_show(Private(tables, show_photos=True), images)


def test_a_picture_stands_alone_in_its_cell_because_livy_drops_the_text_beside_it() -> None:
    shown = [source for source in code_of(notebook()).values() if "%" in source.split(" ")[0]]
    assert len(shown) == 7
    assert all(re.fullmatch(r"%matplot \w+", source) for source in shown)


def test_the_copy_for_a_cluster_has_the_code_and_the_settings(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = f"s3://{bucket}/data"
    monkeypatch.setenv("FRUITS_STORAGE", storage)
    copy = tmp_path / "copy.ipynb"
    monkeypatch.setattr("sys.argv", ["fruits", "cluster", "notebook", "--output", str(copy)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    document = nbformat.read(copy, as_version=4)
    nbformat.validate(document)
    assert document.metadata.kernelspec.name == "pysparkkernel"
    session, variables, *rest = code_of(document).values()
    assert rest == list(code_of(notebook()).values())
    magic, body = session.split("\n", 1)
    assert magic == "%%configure -f"
    (code,) = json.loads(body)["pyFiles"]
    folder = f"{storage}/{FOLDERS['environments']}/"
    assert re.fullmatch(re.escape(folder) + r"code-\w+\.zip", code)
    stored = client("s3", "eu-west-1").get_object(Bucket=bucket, Key=code.split("/", 3)[3])
    digest = hashlib.sha256(stored["Body"].read()).hexdigest()
    assert digest in variables
    assert f'"FRUITS_STORAGE": "{storage}"' in variables


def notebook_for(code: Path, settings: dict[str, str]) -> str:
    digest = hashlib.sha256(code.read_bytes()).hexdigest()
    return cluster_notebook.for_cluster(Location.parse(str(code)), digest, settings)


def test_a_clusters_notebook_only_runs_the_code_it_was_created_for(
    environment: Path, code: Path, tmp_path: Path
) -> None:
    planted = tmp_path / code.name
    planted.write_bytes(code.read_bytes() + b"more")
    document = json.loads(notebook_for(code, {}))
    cell = "".join(document["cells"][1]["source"])
    program = f"""
try:
    exec({cell!r})
except RuntimeError as error:
    print(error)
"""
    assert on_a_node(environment, code, program) == ""
    assert "is not the code that this notebook was created for" in on_a_node(
        environment, planted, program
    )


def test_a_clusters_notebook_reports_a_missing_picture(environment: Path, code: Path) -> None:
    """Sparkmagic continues after a failed cell."""
    document = json.loads(notebook_for(code, {"FRUITS_STORAGE": "/nowhere"}))
    cells = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    program = f"""{LIVY}
names, said = {{}}, []
for cell in {cells[1:]!r}:
    try:
        run_cell(cell, names)
    except Exception as error:
        if cell.startswith("%matplot"):
            said.append((type(error).__name__, str(error)[:32]))
print(said)
"""
    said = on_a_node(environment, code, program).splitlines()[-1]
    names = ast.literal_eval(said)
    assert len(names) == 7
    assert {(kind, text[:20]) for kind, text in names} == {("FruitsError", "There is no picture ")}


def test_it_runs_in_the_clusters_environment_cell_by_cell_as_livy_runs_them(
    environment: Path, code: Path, stored: Path, sample: Path
) -> None:
    """A cluster's notebook has only this environment and Livy, without IPython or scikit-learn."""
    settings = {"FRUITS_STORAGE": str(stored), "FRUITS_INPUT": str(sample)}
    document = json.loads(notebook_for(code, settings))
    cells = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    program = f"""{LIVY}
names = {{}}
images = [run_cell(cell, names) for cell in {cells[1:]!r}]
print("images:", [image[:4] for image in images if image])
"""
    said = on_a_node(environment, code, program)
    assert "the same model: True" in said
    assert said.endswith(f"images: {[PNG] * 7}")
