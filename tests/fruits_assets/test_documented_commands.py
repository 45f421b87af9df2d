"""Every documented command is run here, or in the place that the table names.

A block that begins with `# needs AWS`, `# needs Docker` or `# needs Go` is not run.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from dagster._cli import create_dagster_cli

import fruits_assets
from fruits_assets import definitions
from fruits_assets.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "infra" / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
MARKERS = ("# needs AWS\n", "# needs Docker\n", "# needs Go\n")
OWN = ("fruits", "dagster asset materialize")
"""Commands that are run in this process, where Spark and TensorFlow are already loaded."""

ELSEWHERE = {
    "pip install uv && uv run fruits run": (
        "tests/fruits_assets/test_run_command.py",
        '[FRUITS, "run", *arguments]',
    ),
    "pip install uv && uv run --group dev pytest": (".ci/run", "uv run --group dev pytest"),
    "uv run pytest -m unit -q": (".github/workflows/ci.yaml", "marker: unit"),
    'uv run pytest -m "unit or integration or fuzz or state_machine" --cov': (
        ".github/workflows/ci.yaml",
        '"unit or integration or fuzz or state_machine", packages: "", options: "--cov"',
    ),
    "uv run lint-imports": (".ci/run", "uv run lint-imports"),
    "uv run pytest -n 0 -m yarn": ("tests/emr/test_yarn.py", "`uv run pytest -m yarn` runs"),
    "uv run pytest -n 0 -m yarn_whole": (
        "tests/emr/test_yarn.py",
        "`uv run pytest -m yarn_whole` runs",
    ),
    "uv export --locked --all-groups --no-emit-project --quiet > requirements.txt": (
        ".github/workflows/ci.yaml",
        "uv export --locked --all-groups --no-emit-project --quiet > requirements.txt",
    ),
    "uv tool run pip-audit --strict --require-hashes --disable-pip "
    "--requirement requirements.txt": (
        ".github/workflows/ci.yaml",
        "pip-audit",
    ),
    "uv run dagster dev": ("tests/browser/dagster_dev.py", '"dev"'),
    "pip install uv && uv sync --locked --group dev": (
        ".ci/run",
        "uv sync --locked --group dev",
    ),
    "uv run pytest tests/spark_src/test_pca.py -q": ("tests/spark_src/test_pca.py", "def test_"),
    "uv run pytest tests/spark_src/test_pca.py -q -k signs": (
        "tests/spark_src/test_pca.py",
        "signs(",
    ),
    "uv run ruff format && uv run ruff check . && uv run mypy": (".ci/run", "uv run ruff check ."),
    "uv run pytest tests/browser --screenshots docs/images": (
        "tests/browser/conftest.py",
        '"--screenshots"',
    ),
    "uv run --with jupyterlab jupyter lab notebooks/explore.ipynb": (
        "tests/fruits_assets/test_notebook.py",  # all cells, without JupyterLab
        "NotebookClient(",
    ),
}
"""Where other commands are run: a file, and a text in it."""


def commands(document: Path) -> list[str]:
    """The commands in a document's code blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
    here = "".join(block for block in blocks if not block.startswith(MARKERS))
    lines = here.replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s)#( .*)?$", "", line).strip() for line in lines)
    return [re.sub(r"\s+", " ", line) for line in bare if line]


DOCUMENTED = list(dict.fromkeys(line for document in DOCUMENTS for line in commands(document)))


def program(command: str) -> tuple[dict[str, str], list[str]]:
    """The variables that a command sets, and its arguments without `uv run`."""
    words = shlex.split(command)
    count = next(place for place, word in enumerate(words) if "=" not in word)
    variables = dict(word.split("=", 1) for word in words[:count])
    return variables, words[count:][2:] if words[count:][:2] == ["uv", "run"] else words[count:]


def is_run_here(command: str) -> bool:
    return "&&" not in command and " ".join(program(command)[1]).startswith(OWN)


HERE = [command for command in DOCUMENTED if is_run_here(command)]
BENCHMARKS = [command for command in DOCUMENTED if " -m benchmarks." in command]
HOOKS = "uv tool run pre-commit install"
OTHERS = [line for line in DOCUMENTED if line not in (*HERE, *BENCHMARKS, HOOKS)]


@pytest.fixture(scope="module")
def reader(
    stored: Path, copy_pictures: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The home of a user who has run the first documented command."""
    home = tmp_path_factory.mktemp("reader")
    shutil.copytree(stored, home / "data")
    (home / "sample").symlink_to(REPOSITORY / "sample")
    copy_pictures(home / "photos", 80)
    every = sorted((home / "photos").rglob("*.jpg"))
    (home / "photos" / "photos" / "ID").mkdir(parents=True)
    every[0].rename(home / "photos" / "photos" / "ID" / "one.jpg")
    shutil.copy(every[1], home / "photo.jpg")
    weights = REPOSITORY / "weights" / "mobilenet_v2_1.0_224_no_top.h5"
    (home / "finetuned.h5").symlink_to(weights)
    return home


@pytest.mark.parametrize("command", HERE)
def test_a_documented_command_succeeds(
    command: str, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, words = program(command)
    monkeypatch.chdir(reader)
    own = {"HOME": str(reader), "FRUITS_STORAGE": str(reader / "data")}
    own |= {"FRUITS_INPUT": str(reader / "photos")}
    for name, value in (own | variables).items():
        monkeypatch.setenv(name, value.replace("~", str(reader)))
    # Settings are read once per process, when the definitions are imported.
    monkeypatch.setattr(fruits_assets, "definitions", definitions)
    monkeypatch.delitem(sys.modules, definitions.__name__)
    if words[0] == "dagster":
        done = CliRunner().invoke(create_dagster_cli(), words[1:], auto_envvar_prefix="DAGSTER_CLI")
        assert done.exit_code == 0, done.output
        return
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


@pytest.mark.parametrize("command", BENCHMARKS)
def test_a_benchmark_has_a_help_text(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes minutes, so only its start is tested."""
    module = command.partition(" -m ")[2].split()[0]
    monkeypatch.syspath_prepend(REPOSITORY)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    assert f"Run: uv run python -m {module}" in " ".join(capsys.readouterr().out.split())


def test_the_hooks_before_a_commit_are_installed(tmp_path: Path) -> None:
    assert HOOKS in DOCUMENTED
    shutil.copy(REPOSITORY / ".pre-commit-config.yaml", tmp_path)
    for command in ("git init --quiet", HOOKS):
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    assert (tmp_path / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.parametrize("command", OTHERS)
def test_every_other_command_is_run_in_the_listed_place(command: str) -> None:
    assert command in ELSEWHERE, f"Run it here, or name in ELSEWHERE who does: {command}"
    file, text = ELSEWHERE[command]
    assert text in (REPOSITORY / file).read_text()


def test_the_table_only_lists_documented_commands() -> None:
    assert [command for command in ELSEWHERE if command not in DOCUMENTED] == []
