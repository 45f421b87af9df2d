"""`make up`, `down` and the other commands: the order of their steps, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.infra.conftest import Machine
from tests.infra.module import PROJECT

LIVING = '[[ "$*" != *"list-clusters"* ]] || echo j-FRUITS'
EVERYTHING_THERE = '[[ "$*" != *"list-secrets"* ]] || echo fruits-features/jupyterhub'
QUOTA = '[[ "$*" != *"get-service-quota"* ]] || echo '


@pytest.fixture
def settled(machine: Machine) -> Machine:
    """A machine on which the only setting without a default is filled in."""
    (machine.root / "infra" / "terraform.tfvars").touch()
    machine.program("aws", EVERYTHING_THERE)
    return machine


def test_up_creates_the_buckets_then_fills_them_then_creates_the_cluster(settled: Machine) -> None:
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 0, output
    order = ["cluster-env build", "-target=terraform_data.storage", "cluster-env push", "aws s3 ls"]
    calls = settled.called()
    places = [next(i for i, call in enumerate(calls) if part in call) for part in order]
    assert places == sorted(places)
    assert calls[-1] == "terraform -chdir=infra apply -auto-approve"
    settings = json.loads((settled.root / "infra" / "made.auto.tfvars.json").read_text())
    assert settings == {"environment_archive": "env-0123.tar.gz"}
    assert 'eval "$(make -s env)"' in output


def test_up_asks_for_confirmation_by_default(settled: Machine) -> None:
    settled.run("infra/commands/up")
    assert settled.called(" apply ") and not settled.called("-auto-approve -target")
    assert settled.called(" apply -auto-approve=false ")


def test_up_only_reads_outputs_that_the_first_apply_saves(settled: Machine) -> None:
    """After a targeted apply, Terraform drops outputs that depend only on variables."""
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 0, output
    calls = settled.called()
    (whole,) = [i for i, call in enumerate(calls) if call.endswith(" apply -auto-approve")]
    read = [call.split()[-1] for call in calls[:whole] if " output -raw " in call]
    assert {"storage", "region", "cluster_name", "certificates_uri", "data_key"} <= set(read)
    assert settled.called("uv run fruits cluster-env push")


def test_up_can_be_run_again_after_a_failure(settled: Machine) -> None:
    settled.program("uv", '[[ "$*" != *push* ]] || exit 1; echo .cache/env-0123.tar.gz')
    assert settled.run("infra/commands/up", AUTO_APPROVE="yes")[0] == 1
    settled.program("uv", "echo .cache/env-0123.tar.gz")
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 0, output


def test_an_output_that_is_missing_or_empty_stops_a_command(made: Machine) -> None:
    for broken in ("exit 1", "echo", "echo null"):
        made.program("terraform", f'[[ "$*" != *"output -raw region"* ]] || {{ {broken}; exit; }}')
        for command in ("certificates", "jupyterhub-password", "pause", "down", "jupyterhub"):
            made.program("session-manager-plugin", "exit 0")
            code, output = made.run(f"infra/commands/{command}", CONFIRM="x")
            assert code == 1, (command, output)
    assert not made.called(" apply ") and not made.called(" destroy ")


def test_up_reports_a_small_quota_before_anything_is_billed(settled: Machine) -> None:
    settled.program("aws", f"{EVERYTHING_THERE}\n{QUOTA}5.0")
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 1
    assert "may run 5 vCPUs of on-demand instances in eu-west-1, and the cluster needs 12" in output
    assert "request-service-quota-increase" in output and "L-1216C47A" in output
    assert all("-target" in call for call in settled.called(" apply "))


@pytest.mark.parametrize("answer", ["12.0", "640.0", "None"])
def test_up_continues_if_the_quota_is_sufficient_or_unknown(settled: Machine, answer: str) -> None:
    settled.program("aws", f"{EVERYTHING_THERE}\n{QUOTA}{answer}")
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 0, output
    assert ("cannot be read" in output) == (answer == "None")


@pytest.mark.parametrize("vcpus", ["0", "4"])
def test_up_prepares_an_account_for_spot_nodes_only_if_there_are_any(
    settled: Machine, vcpus: str
) -> None:
    (settled.root / "outputs" / "storage_first" / "quota_spot_vcpus").write_text(vcpus)
    settled.program("aws", f'{EVERYTHING_THERE}\n[[ "$*" != *"iam get-role"* ]] || exit 254')
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 0, output
    roles = settled.called("create-service-linked-role")
    quotas = settled.called("L-34B43A08")
    assert len(roles) == len(quotas) == (vcpus != "0")
    assert all("--aws-service-name spot.amazonaws.com" in call for call in roles)


def test_up_reports_a_small_quota_of_spot_nodes(settled: Machine) -> None:
    (settled.root / "outputs" / "storage_first" / "quota_spot_vcpus").write_text("4")
    quota = '[[ "$*" != *L-34B43A08* || "$*" != *get-service-quota* ]] || echo 0.0'
    settled.program("aws", f"{EVERYTHING_THERE}\n{quota}")
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 1
    assert "may run 0 vCPUs of spot instances in eu-west-1, and the cluster needs 4" in output
    assert all("-target" in call for call in settled.called(" apply "))


def test_every_call_of_aws_names_a_region(settled: Machine) -> None:
    """A machine may have credentials and no region, and a new bucket is known in its own first."""
    settled.program("openssl", 'exec /usr/bin/openssl "$@"')
    settled.program("session-manager-plugin", "exit 0")
    for command in ("up", "certificates", "jupyterhub-password", "status", "pause", "down"):
        settled.run(
            f"infra/commands/{command}", AUTO_APPROVE="yes", CONFIRM=settled.outputs["bucket"]
        )
    settled.program("aws", LIVING)
    settled.run("infra/commands/jupyterhub")
    calls = settled.called("aws ")
    assert {"sts", "s3", "emr", "ssm", "secretsmanager", "service-quotas"} <= {
        call.split()[1] for call in calls
    }
    assert [call for call in calls if " --region " not in call] == []


def test_up_without_settings_names_the_file_to_copy(machine: Machine) -> None:
    code, output = machine.run("infra/commands/up")
    assert code == 1
    assert "copy infra/terraform.tfvars.example" in output
    assert not machine.called("apply")


def test_up_creates_no_second_cluster_beside_one_that_fruits_started(settled: Machine) -> None:
    settled.program("aws", f"{EVERYTHING_THERE}\n{LIVING}")
    code, output = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 1
    assert "j-FRUITS was started by `fruits`" in output and "fruits cluster stop" in output
    assert all("-target" in call for call in settled.called(" apply "))


def test_without_credentials_nothing_is_done(made: Machine) -> None:
    made.program("aws", "exit 255")
    for command in ("up", "down", "pause", "status"):
        code, output = made.run(f"infra/commands/{command}", AUTO_APPROVE="yes")
        assert code == 1
        assert "aws sso login" in output
    assert not made.called(" apply ") and not made.called(" destroy ")


@pytest.mark.parametrize("answer", ["no", "fruits-other"])
def test_down_lists_the_data_and_requires_the_buckets_name(made: Machine, answer: str) -> None:
    machine = made
    machine.program("aws", 'echo "Total Objects: 240"; echo "Total Size: 1.3 MiB"')
    code, output = machine.run("infra/commands/down", CONFIRM=answer)
    assert code == 1
    assert f"s3://{machine.outputs['bucket']}/input/: 240 objects, 1.3 MiB" in output
    assert "nothing was changed" in output
    assert not machine.called("terminate") and not machine.called("destroy")


def test_down_terminates_clusters_unknown_to_terraform_then_deletes_everything(
    made: Machine,
) -> None:
    machine = made
    machine.program("aws", LIVING)
    code, output = machine.run("infra/commands/down", CONFIRM=machine.outputs["bucket"])
    assert code == 0, output
    order = ["terminate-clusters", "wait cluster-terminated", "allow_data_loss", "destroy"]
    calls = machine.called()
    places = [next(i for i, call in enumerate(calls) if part in call) for part in order]
    assert places == sorted(places)
    assert machine.called("delete-secret") and "Nothing is left" in output


def test_down_tries_again_if_a_late_log_blocks_a_bucket(made: Machine) -> None:
    once = made.root / "once"
    late = f'[[ "$*" != *" destroy "* || -e {once} ]] || {{ touch {once}; exit 1; }}'
    made.program("terraform", late + "\n" + (made.bin / "terraform").read_text())
    code, output = made.run("infra/commands/down", CONFIRM=made.outputs["bucket"])
    assert code == 0, output
    assert "a log arrived" in output and "Nothing is left" in output


def test_down_fails_if_resources_remain(made: Machine) -> None:
    machine = made
    left = '[[ "$*" != *"state list"* ]] || echo aws_s3_bucket.this'
    machine.program("terraform", (machine.bin / "terraform").read_text() + left)
    code, output = machine.run("infra/commands/down", CONFIRM=machine.outputs["bucket"])
    assert code == 1
    assert "aws_s3_bucket.this" in output


def test_env_prints_the_settings_as_shell_lines(made: Machine) -> None:
    code, output = made.run("infra/commands/env")
    assert code == 0
    assert output == made.outputs["exports"] + "\n"
    assert f"export FRUITS_STORAGE='{made.outputs['storage']}'" in output


def test_env_without_resources_names_make_up(machine: Machine) -> None:
    machine.program("terraform", "exit 1")
    code, output = machine.run("infra/commands/env")
    assert code == 1
    assert "make up" in output


SMOKE = ["up", "data", "spot", "graph", "checks", "pca", "notebook", "erasure", "restart", "down"]


def test_the_smoke_test_runs_its_steps_and_reports_failures(settled: Machine) -> None:
    settled.program(
        "uv",
        'if [[ "$*" == *"fruits check"* ]]; then echo "account 123456789012: bad"; exit 1; fi\n'
        "echo .cache/env-0123.tar.gz",
    )
    for name in ("session-manager-plugin", "curl", "sleep"):
        settled.program(name, "echo 200")
    person = settled.root / "sample" / "fruits-360" / "Test" / "Apple"
    person.mkdir(parents=True)
    code, output = settled.run("infra/commands/smoke", AUTO_APPROVE="yes")
    assert code == 1, output
    (report,) = settled.root.glob("smoke-*.md")
    text = report.read_text()
    outcomes = dict(re.findall(r"^## (\w+): (\w+), \d+ s$", text, re.MULTILINE))
    assert list(outcomes) == SMOKE
    assert [step for step, outcome in outcomes.items() if outcome == "FAILED"] == ["checks"], text
    assert "account ACCOUNT: bad" in text and "123456789012" not in text
    order = ["cluster-env push", "asset materialize", "fruits erase", "cluster start", "destroy"]
    calls = settled.called()
    places = [next(i for i, call in enumerate(calls) if part in call) for part in order]
    assert places == sorted(places)
    (opened,) = settled.called("curl ")
    assert "--max-time" in opened  # a port that is closed on the node does not answer at all


def test_the_smoke_test_asks_for_confirmation(settled: Machine) -> None:
    code, _ = settled.run("infra/commands/smoke")
    assert code == 1
    assert not settled.called(" apply ")


NEWER_THAN_BASH_3 = {
    "mapfile or readarray": r"\b(mapfile|readarray)\b",
    "associative arrays": r"\b(declare|local|typeset)\s+-[a-zA-Z]*[An]",
    "a list that may be empty, under set -u": r'"\$\{\w+\[@\]\}"',
    "upper and lower case of a value": r"\$\{\w+(,,|\^\^|[,^])\}",
    "|& and &>>": r"\|&|&>>",
    "a value's attributes": r"\$\{\w+@\w\}",
    "a negative index or length": r"\$\{\w+\[-\d+\]|\$\{\w+:\d+:-\d+\}",
    "coproc, wait -n, globstar": r"\bcoproc\b|\bwait -n\b|\bglobstar\b",
    "printf's %(…)T": r"printf.*%\(",
    "test -v": r"\[\[? -v ",
    "EPOCHSECONDS and the like": r"\b(EPOCHSECONDS|EPOCHREALTIME|BASHPID)\b",
    ";& in case": r";;?&",
}
"""Features that macOS's bash 3.2 does not have or handles differently."""


@pytest.mark.parametrize("file", sorted((PROJECT / "infra" / "commands").iterdir()), ids=str)
def test_commands_use_only_features_of_bash_3_on_macos(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    found = {
        name: line
        for name, pattern in NEWER_THAN_BASH_3.items()
        for line in lines
        if re.search(pattern, line) and '+"${' not in line
    }
    assert found == {}
