"""Runs on unusual machines: other Sparks, no locale, no home, odd names and mounts. Each runs the
complete pipeline on 24 pictures in a new process.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FRUITS = str(Path(sys.executable).with_name("fruits"))
SYSTEM = {"PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def pictures(copy_pictures: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_pictures(tmp_path_factory.mktemp("few") / "fotos-é", 24)
    first = min(folder.rglob("*.jpg"))
    first.rename(first.with_name("Äpfel.jpg"))
    return folder


def run(
    tmp_path: Path,
    pictures: Path,
    variables: Mapping[str, str],
    before: Sequence[str] = (),
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """`fruits run` with only the given environment variables."""
    home = tmp_path / "dagster"
    home.mkdir(exist_ok=True)
    own = {"FRUITS_INPUT": str(pictures), "FRUITS_STORAGE": str(tmp_path / "tables-é")}
    return subprocess.run(
        [*before, FRUITS, "run", "-k", "3"],
        env=SYSTEM | {"DAGSTER_HOME": str(home)} | own | variables,
        cwd=cwd or tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def require_whole(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "csv_export" in done.stdout and "24 rows" in done.stdout


def can_unshare(*options: str) -> bool:
    program = shutil.which("unshare")
    if program is None:
        return False
    return not subprocess.run([program, *options, "true"], stderr=-3, check=False).returncode


def test_in_the_c_locale_beside_another_spark_with_no_home_on_one_core(
    tmp_path: Path, pictures: Path
) -> None:
    """Independent faults are combined in one run, because each run takes 20 s."""
    other = tmp_path / "other-spark"
    (other / "python" / "pyspark").mkdir(parents=True)
    (other / "python" / "pyspark" / "__init__.py").write_text("raise ImportError('another Spark')")
    (other / "conf").mkdir()
    (other / "conf" / "spark-defaults.conf").write_text("spark.master spark://nowhere:7077\n")
    variables = {
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "SPARK_HOME": str(other),
        "SPARK_CONF_DIR": str(other / "conf"),
        "HADOOP_CONF_DIR": str(other / "conf"),
        "JAVA_HOME": str(other),
        "JAVA_TOOL_OPTIONS": "-XX:+UseConcMarkSweepGC",
        "PYSPARK_PYTHON": str(other / "python3.6"),
        "PYSPARK_SUBMIT_ARGS": "--master yarn pyspark-shell",
        "PYTHONPATH": str(other / "python"),
        "CONDA_PREFIX": str(other),
    }
    require_whole(run(tmp_path, pictures, variables, ["taskset", "-c", "0"]))


@pytest.mark.skipif(not can_unshare("--uts", "--mount"), reason="unshare is not allowed here")
def test_with_a_host_name_that_does_not_resolve_and_a_tmp_that_is_tiny_and_noexec(
    tmp_path: Path, pictures: Path
) -> None:
    # The tests themselves use /tmp, so TMPDIR is another folder with such a mount.
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    script = f'hostname no-such-host && mount -t tmpfs -o size=64k,noexec none {tiny} && exec "$@"'
    before = ["unshare", "--uts", "--mount", "sh", "-c", script, "sh"]
    require_whole(run(tmp_path, pictures, {"TMPDIR": str(tiny)}, before))


def test_a_project_is_used_from_any_directory(tmp_path: Path) -> None:
    script = (
        "from fruits_assets.settings import load_settings; import os;"
        "print(load_settings().storage); print(os.environ['DAGSTER_HOME'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=SYSTEM,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(REPOSITORY / "data"), str(REPOSITORY / ".dagster")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked like an installer does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["uv", "build", "--wheel", "--quiet", "--out-dir", str(folder), str(REPOSITORY)]
    subprocess.run(command, check=True)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as packed:
        packed.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_the_wheel_carries_sample_and_weights_and_stores_where_it_is_run(
    wheel: Path, tmp_path: Path
) -> None:
    bundled = wheel / "fruits_assets" / "_bundled"
    assert len(list(bundled.rglob("*.jpg"))) == 240
    assert (bundled / "weights" / "mobilenet_v2_1.0_224_no_top.h5").exists()
    assert (bundled / "weights" / "mobilenet_v2_1.0_224_no_top.tflite").exists()
    script = (
        f"import sys; sys.path.insert(0, {str(wheel)!r});"
        "from fruits_assets.settings import load_settings as s;"
        "from fruits_assets import environment as e; e.set_defaults();"
        "import os; print(s().storage, os.environ['DAGSTER_HOME'], s().input, sep='\\n')"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import site; site.addsitedir({site_packages()!r});" + script,
        ],
        env=SYSTEM | {"PYTHONPATH": str(wheel), "DAGSTER_HOME": str(tmp_path / ".dagster")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    storage, home, source = done.stdout.splitlines()
    assert storage == str(tmp_path / "data")
    assert home == str(tmp_path / ".dagster")
    assert Path(source) == bundled / "sample" / "fruits-360"


def site_packages() -> str:
    import pydantic

    return str(Path(pydantic.__file__).parents[1])


def test_doctor_shows_the_environment_of_a_run(tmp_path: Path, pictures: Path) -> None:
    shutil.copy(min(pictures.rglob("*.jpg")), pictures / "ÄPFEL.jpg")
    done = subprocess.run(
        [FRUITS, "doctor", str(pictures)],
        env=SYSTEM | {"FRUITS_STORAGE": str(tmp_path / "data"), "SPARK_HOME": "/opt/spark"},
        capture_output=True,
        text=True,
        check=False,
    )
    (pictures / "ÄPFEL.jpg").unlink()
    text = " ".join(done.stdout.replace("│", " ").split())
    assert done.returncode == 1  # 50 components, but only 25 pictures
    assert "not used: SPARK_HOME" in text
    assert "25 files" in text
    assert "pictures to fit on allow at most" in text and "of 50 components" in text
    quoted = shlex.quote(str(pictures))
    assert done.stdout.splitlines()[-1] == f"next    FRUITS_INPUT={quoted} uv run fruits run"


def test_doctor_reports_a_missing_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [FRUITS, "doctor", str(tmp_path / "missing")],
        env=SYSTEM | {"FRUITS_STORAGE": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "error" in done.stdout
