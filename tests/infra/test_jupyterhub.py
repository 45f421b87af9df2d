"""The real JupyterHub, PAM and iptables with the scripts that replace the default password."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
import requests

from tests.cluster_env import REGION
from tests.infra.conftest import Machine
from tests.infra.hub_browser import Browser
from tests.infra.hub_node import ADDRESSES, HubNode, require_programs
from tests.infra.module import PROJECT

SCRIPT = PROJECT / "infra" / "cluster" / "jupyterhub.sh"
URI = "s3://bucket/cluster/jupyterhub-password.hash"
OUTPUTS = {
    "region": REGION,
    "cluster_name": "fruits-features",
    "data_key": "arn:aws:kms:eu-west-1:123456789012:key/1",
    "jupyterhub_secret": "fruits-features/jupyterhub",
    "jupyterhub_hash_uri": URI,
}
FROM_OFFICE = ("office", "https://10.0.0.10:9443")
TO_THE_HUB = ("node", "http://172.18.0.2:8081")
DOORS = [FROM_OFFICE, TO_THE_HUB, *(("node", f"https://{address}:9443") for address in ADDRESSES)]
"""From where the login page can be opened, and at which URL."""


@dataclass(frozen=True)
class Replaced:
    """A node whose default password was replaced."""

    node: HubNode
    password: str
    accepted_before: bool
    open_before: list[tuple[str, str]]

    def browser(self) -> Browser:
        return Browser(FROM_OFFICE[1], self.node.certificate)


@pytest.fixture(scope="module")
def replaced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replaced]:
    """The bootstrap action, the start of the hub, then the unit that replaces the password."""
    require_programs()
    password, hashed = new_password(tmp_path_factory.mktemp("machine"))
    node = HubNode(tmp_path_factory.mktemp("node"), hashed)
    try:
        run(node, "install")
        node.start_hub()
        accepted, doors = accepts(node, "jupyter"), open_doors(node)
        run(node, "open")
        yield Replaced(node, password, accepted, doors)
    finally:
        node.stop()


def new_password(root: Path) -> tuple[str, str]:
    """A password and its hash from infra/commands/jupyterhub-password."""
    machine = Machine(root, dict.fromkeys(("storage_first", "everything"), OUTPUTS))
    shutil.copytree(root / "outputs" / "everything", root / "state")
    secret, hashed = root / "secret.json", root / "password.hash"
    keep = f'for a in "$@"; do [[ $a != file://* ]] || cat "${{a#file://}}" >"{secret}"; done'
    machine.program("aws", f'{keep}\n[[ "$*" != *"s3 cp"* ]] || cp "${{@: -2:1}}" "{hashed}"')
    code, output = machine.run("infra/commands/jupyterhub-password")
    assert code == 0, output
    return json.loads(secret.read_text())["SecretString"], hashed.read_text().strip()


def run(node: HubNode, part: str) -> None:
    code, output = node.run(SCRIPT, part, REGION, URI)
    assert code == 0, output


def accepts(node: HubNode, password: str) -> bool:
    """Whether PAM in the container accepts jovyan's password."""
    check = "import pamela, sys; pamela.authenticate('jovyan', sys.argv[1])"
    return node.in_container("python", "-c", check, password)[0] == 0


def open_doors(node: HubNode) -> list[tuple[str, str]]:
    return [(place, url) for place, url in DOORS if is_open(node, place, url)]


def is_open(node: HubNode, place: str, url: str) -> bool:
    with node.network(place):
        try:
            Browser(url, node.certificate).open_login_page()
        except requests.ConnectTimeout:
            return False
    return True


def test_until_the_password_is_replaced_the_login_page_cannot_be_opened(
    replaced: Replaced,
) -> None:
    assert replaced.accepted_before
    assert replaced.open_before == []
    assert open_doors(replaced.node) == DOORS


def test_the_default_password_is_refused_afterwards(replaced: Replaced) -> None:
    with replaced.node.network("office"):
        answer = replaced.browser().log_in("jovyan", "jupyter")
    assert answer.status_code == requests.codes.forbidden
    assert "Invalid username or password" in answer.text


def test_with_the_new_password_an_uploaded_notebook_runs(replaced: Replaced) -> None:
    notebook = nbformat.read(PROJECT / "notebooks" / "explore.ipynb", as_version=4)
    source = {cell.id: cell.source for cell in notebook.cells}
    cells = [
        "import getpass, os\nos.environ['FRUITS_STORAGE'] = 'empty'\nprint(getpass.getuser())",
        source["settings"],
        source["listing"],
    ]
    with replaced.node.network("office"):
        browser = replaced.browser()
        browser.log_in("jovyan", replaced.password).raise_for_status()
        browser.start_server("jovyan")
        uploaded = {"type": "notebook", "format": "json", "content": notebook}
        browser.call("PUT", "user/jovyan/api/contents/explore.ipynb", uploaded)
        user, settings, listing = browser.run_notebook("user/jovyan", "explore.ipynb", cells)
    assert user == {"text": "jovyan\n", "error": ""}
    assert "uv run dagster asset materialize" in settings["error"]
    assert listing["text"].startswith("240 files")


def test_sparkmagics_configuration_is_changed_in_the_container(replaced: Replaced) -> None:
    _, content = replaced.node.in_container("cat", "/etc/jupyter/conf/config.json")
    assert json.loads(content)["kernel_python_credentials"]["url"] == "https://node:8998"
