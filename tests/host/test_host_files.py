"""The Docker and Dagster config in infra/host: no open ports, pinned versions, no passwords."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fruits_assets.assets.mobilenet_features import mobilenet_features
from tests.host.team_host import HOST

VARIABLES = ("HOST", "PORT", "DB", "USER", "PASSWORD")


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((HOST / "compose.yaml").read_text())["services"])


def test_only_the_proxy_is_published_and_only_on_the_loopback_address(
    services: dict[str, dict[str, Any]],
) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"proxy": ["127.0.0.1:3000:8080"]}
    assert not [name for name, service in services.items() if "network_mode" in service]


def test_only_dagster_reaches_postgresql(services: dict[str, dict[str, Any]]) -> None:
    networks = yaml.safe_load((HOST / "compose.yaml").read_text())["networks"]
    assert networks["database"] == {"internal": True}
    assert services["postgres"]["networks"] == ["database"]


def test_no_service_has_a_capability_or_runs_as_root(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service and "docker.sock" not in str(service)
    assert services["postgres"]["user"] == "postgres"
    assert services["proxy"]["user"] == "101"
    assert (HOST / "Dockerfile").read_text().rstrip().endswith("USER 10001")


def test_images_and_tools_have_exact_versions(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (HOST / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    pulled = [services[name]["image"] for name in ("postgres", "proxy")]
    for image in [*bases, *pulled]:
        assert re.fullmatch(r"[a-z/-]+:\d+\.\d+[.\w]*-[\w-]+(@sha256:[0-9a-f]{64})?", image), image
    assert re.search(r"pip install --no-cache-dir uv==\d+\.\d+\.\d+", dockerfile)


def test_compose_has_no_password_of_its_own(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for variable, value in service["environment"].items():
            if "PASSWORD" in variable:
                assert value.startswith("${DAGSTER_POSTGRES_PASSWORD:?"), name
    compose = yaml.safe_load((HOST / "compose.yaml").read_text())
    assert compose["secrets"] == {"ui_users": {"environment": "DAGSTER_UI_USERS"}}


def test_the_limit_is_set_for_the_pool_that_the_features_are_in(
    services: dict[str, dict[str, Any]],
) -> None:
    command = ["dagster", "instance", "concurrency", "set", mobilenet_features.op.pool, "1"]
    assert services["limits"]["command"] == command
    assert services["daemon"]["depends_on"]["limits"] == {
        "condition": "service_completed_successfully"
    }


@pytest.mark.parametrize("missing", VARIABLES)
def test_dagster_requires_the_variable(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", "5432")
    monkeypatch.delenv(f"DAGSTER_POSTGRES_{missing}")
    (tmp_path / "dagster.yaml").write_bytes((HOST / "dagster.yaml").read_bytes())
    with pytest.raises(dg.DagsterError, match=f'"DAGSTER_POSTGRES_{missing}"'):
        dg.DagsterInstance.from_config(str(tmp_path))
