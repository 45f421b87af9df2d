"""`terraform validate` and `terraform test` on a copy of the module.

uv run python -m tests.infra.terraform_tests

Exit code 3 if there is no provider: neither its registry nor the stand-in is available.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.infra.module import NoProviderError, copy, init, terraform

NO_PROVIDER = 3


def main() -> int:
    """Print Terraform's summary lines; its exit code, or 3 without a provider."""
    with tempfile.TemporaryDirectory() as folder:
        module = copy(Path(folder) / "module")
        try:
            provider = init(module)
        except NoProviderError as error:
            sys.stderr.write(f"{error}\n")
            return NO_PROVIDER
        for arguments in (["validate"], ["test"]):
            done = terraform(module, *arguments, check=False)
            if done.returncode:
                sys.stdout.write(done.stdout + done.stderr)
                return done.returncode
            last = [line for line in done.stdout.splitlines() if line.strip()][-1]
            sys.stdout.write(f"terraform {arguments[0]} ({provider}): {last}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
