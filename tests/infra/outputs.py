"""The outputs that Terraform saves after `up`'s targeted and its complete apply. No tests here."""

from __future__ import annotations

import json
from pathlib import Path

from tests.infra.module import copy, init, terraform

Outputs = dict[str, str]


def kept_outputs(folder: Path) -> dict[str, Outputs]:
    """The outputs in the state after each run of outputs.tftest.hcl.

    Args:
        folder: an empty folder for a copy of the module.

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
