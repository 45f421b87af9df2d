"""The outputs that Terraform keeps after `up`'s targeted apply and after all of it. No tests."""

from __future__ import annotations

import json
from pathlib import Path

from tests.infra.module import copy, init, terraform

Outputs = dict[str, str]


def kept_outputs(folder: Path) -> dict[str, Outputs]:
    """The outputs by the run of outputs.tftest.hcl after which they were in the state.

    Args:
        folder: an empty one, for a copy of the module.

    Raises:
        NoProviderError: see `init`.
    """
    module = copy(folder)
    init(module)
    arguments = ("test", "-json", "-verbose", "-filter=tests/outputs.tftest.hcl")
    done = terraform(module, *arguments, check=False)
    states: dict[str, Outputs] = {}
    for line in done.stdout.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("type") == "test_state":
            found = message["test_state"].get("outputs", {})
            states[message["@testrun"]] = {
                name: output["value"]
                for name, output in found.items()
                if isinstance(output.get("value"), str)
            }
    return states
