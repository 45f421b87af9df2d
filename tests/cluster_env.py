"""The cluster's environment for tests: packed once, kept until the lock changes; nodes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyspark

from fruits_assets.emr import packed_env

REGION = "eu-west-1"
BOOTSTRAP = Path(__file__).resolve().parents[1] / "infra" / "cluster" / "bootstrap.sh"


def built_env() -> Path:
    """The archive. The first build takes about 12 s and needs the package index."""
    return packed_env.build()


def unpacked_env(folder: Path) -> Path:
    """The environment unpacked into `folder/env` (6 s, 500 MB); its Python is `bin/python`."""
    target = folder / "env"
    packed_env.unpack(built_env(), target)
    return target


def node_variables(code: Path) -> dict[str, str]:
    """The variables of a process on a node: Spark's Python files and the project's zip."""
    spark = Path(pyspark.__file__).parent / "python" / "lib"
    path = [*sorted(spark.glob("*.zip")), code]
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(str(entry) for entry in path)}


def on_a_node(environment: Path, code: Path, program: str) -> str:
    """The program's output when run with the environment, Spark's Python files and the zip."""
    done = subprocess.run(
        [environment / "bin" / "python", "-c", program],
        env=node_variables(code),
        cwd=environment.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FROM_NO_OTHER_REGION = f"""
[[ "$*" == *"--region {REGION} "* ]] ||
    {{ echo "Connect timeout on endpoint URL: https://bucket.s3.amazonaws.com/" >&2; exit 255; }}
"""
"""For stand-ins of the AWS CLI on a node: it reaches only its own region's S3.

Without a region, the CLI uses S3's global endpoint, which answers for a new bucket from us-east-1.
"""


class Node:
    """A machine that runs the bootstrap action; its `aws` copies a local file."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "opt" / "env"
        self.temporary = folder / "tmp"
        self._log = folder / "downloads"
        self._tools = folder / "tools"
        self._tools.mkdir()
        self.temporary.mkdir()
        (self._tools / "python3.11").symlink_to(packed_env.SYSTEM_PYTHON)

    def boot(self, archive: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the bootstrap action; every URI in the region returns the archive."""
        fake = self._tools / "aws"
        fake.write_text(
            "#!/usr/bin/env bash\n"
            f"{FROM_NO_OTHER_REGION}\n"
            f'echo "${{@: -2:1}}" >>"{self._log}"\ncp "{archive}" "${{@: -1}}"\n'
        )
        fake.chmod(0o755)
        variables = {
            "PATH": f"{self._tools}:/usr/bin:/bin",
            "FRUITS_ENV_PATH": str(self.target),
            "SUDO": "",
            "TMPDIR": str(self.temporary),
        }
        command = [str(BOOTSTRAP), *arguments]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    @property
    def downloads(self) -> list[str]:
        """The URIs it requested."""
        return self._log.read_text().split()
