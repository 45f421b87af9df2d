"""`make up`, `down` and the like: in which order they do things, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.infra.conftest import OUTPUTS, SYSTEM, Machine
from tests.programs import program

LIVING = '[[ "$*" != *"list-clusters"* ]] || echo j-FRUITS'
EVERYTHING_THERE = '[[ "$*" != *"list-secrets"* ]] || echo fruits-features/jupyterhub'


@pytest.fixture
def settled(machine: Machine) -> Machine:
    """A machine on which the one setting that has no default is filled in."""
    (machine.root / "infra" / "terraform.tfvars").touch()
    machine.program("aws", EVERYTHING_THERE)
    return machine


def test_up_makes_the_buckets_then_fills_them_then_makes_the_cluster(settled: Machine) -> None:
    code, said = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 0, said
    order = ["cluster-env build", "-target=terraform_data.storage", "cluster-env push", "aws s3 ls"]
    calls = settled.called()
    places = [next(i for i, call in enumerate(calls) if part in call) for part in order]
    assert places == sorted(places)
    assert calls[-1] == "terraform -chdir=infra apply -input=false -auto-approve"
    made = json.loads((settled.root / "infra" / "made.auto.tfvars.json").read_text())
    assert made == {"environment_archive": "env-0123.tar.gz"}
    assert 'eval "$(make -s env)"' in said


def test_up_asks_unless_told_not_to(settled: Machine) -> None:
    settled.run("infra/commands/up")
    assert settled.called(" apply ") and not settled.called("-auto-approve")


def test_up_without_settings_names_the_file_to_copy(machine: Machine) -> None:
    code, said = machine.run("infra/commands/up")
    assert code == 1
    assert "copy infra/terraform.tfvars.example" in said
    assert not machine.called("apply")


def test_up_makes_no_second_cluster_beside_one_that_fruits_started(settled: Machine) -> None:
    settled.program("aws", f"{EVERYTHING_THERE}\n{LIVING}")
    code, said = settled.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 1
    assert "j-FRUITS was started by `fruits`" in said and "fruits cluster stop" in said
    assert all("-target" in call for call in settled.called(" apply "))


def test_without_credentials_nothing_is_done(settled: Machine) -> None:
    settled.program("aws", "exit 255")
    for command in ("up", "down", "pause", "status"):
        code, said = settled.run(f"infra/commands/{command}", AUTO_APPROVE="yes")
        assert code == 1
        assert "aws sso login" in said
    assert not settled.called(" apply ") and not settled.called(" destroy ")


@pytest.mark.parametrize("answer", ["no", "fruits-other"])
def test_down_says_what_is_lost_and_wants_the_buckets_name(machine: Machine, answer: str) -> None:
    machine.program("aws", 'echo "Total Objects: 240"; echo "Total Size: 1.3 MiB"')
    code, said = machine.run("infra/commands/down", CONFIRM=answer)
    assert code == 1
    assert "s3://fruits-data/input/: 240 objects, 1.3 MiB" in said
    assert "nothing was changed" in said
    assert not machine.called("terminate") and not machine.called("destroy")


def test_down_ends_clusters_that_terraform_does_not_know_then_everything(machine: Machine) -> None:
    machine.program("aws", LIVING)
    code, said = machine.run("infra/commands/down", CONFIRM=OUTPUTS["bucket"])
    assert code == 0, said
    order = ["terminate-clusters", "wait cluster-terminated", "allow_data_loss", "destroy"]
    calls = machine.called()
    places = [next(i for i, call in enumerate(calls) if part in call) for part in order]
    assert places == sorted(places)
    assert machine.called("delete-secret") and "Nothing is left" in said


def test_down_is_no_success_where_something_is_left(machine: Machine) -> None:
    left = '[[ "$*" != *"state list"* ]] || echo aws_s3_bucket.this'
    machine.program("terraform", (machine.bin / "terraform").read_text() + left)
    code, said = machine.run("infra/commands/down", CONFIRM=OUTPUTS["bucket"])
    assert code == 1
    assert "aws_s3_bucket.this" in said


def test_the_settings_come_as_lines_for_a_shell(machine: Machine) -> None:
    assert machine.run("infra/commands/env") == (0, OUTPUTS["exports"] + "\n")


def test_where_nothing_is_made_that_is_said(machine: Machine) -> None:
    machine.program("terraform", "exit 1")
    code, said = machine.run("infra/commands/env")
    assert code == 1
    assert "make up" in said


def test_the_password_is_random_under_the_key_and_on_no_command_line(machine: Machine) -> None:
    kept = machine.root / "kept.json"
    keep = f'for a in "$@"; do [[ $a != file://* ]] || cat "${{a#file://}}" >"{kept}"; done'
    machine.program("aws", keep)
    passwords = set()
    for _ in range(2):
        code, said = machine.run("infra/commands/jupyterhub-password", "--if-missing")
        assert code == 0, said
        made = json.loads(kept.read_text())
        assert made["KmsKeyId"] == OUTPUTS["data_key"]
        passwords.add(made["SecretString"])
    assert len(passwords) == 2 and min(map(len, passwords)) >= 32
    assert not any(password in machine.notes.read_text() for password in passwords)
    assert list((machine.root / ".cache").iterdir()) == []


def test_a_password_that_is_there_stays(machine: Machine) -> None:
    machine.program("aws", EVERYTHING_THERE)
    machine.run("infra/commands/jupyterhub-password", "--if-missing")
    assert not machine.called("put-secret-value") and not machine.called("create-secret")


def test_certificates_are_what_emr_wants_and_leave_no_key_behind(machine: Machine) -> None:
    openssl = program("openssl", "openssl", SYSTEM)
    kept = machine.root / "kept.zip"
    copies = (
        f'[[ "$*" != *"s3 ls"* ]] || exit 1\n[[ "$*" != *"s3 cp"* ]] || cp "${{@: -2:1}}" "{kept}"'
    )
    machine.program("aws", copies)
    code, said = machine.run("infra/commands/certificates")
    assert code == 0, said
    with zipfile.ZipFile(kept) as archive:
        names = set(archive.namelist())
        certificate = archive.read("certificateChain.pem").decode()
    assert names == {"privateKey.pem", "certificateChain.pem", "trustedCertificates.pem"}
    shown = subprocess.run(
        [openssl, "x509", "-noout", "-subject", "-ext", "subjectAltName"],
        input=certificate,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "*.eu-west-1.compute.internal" in shown.stdout
    assert list((machine.root / ".cache").iterdir()) == []


def test_an_ssh_key_is_made_once_for_its_owner_alone(machine: Machine) -> None:
    program("ssh-keygen", "openssh-client", SYSTEM)
    (machine.root / "infra").mkdir(exist_ok=True)
    key = machine.root / ".ssh" / "key"
    for _ in range(2):
        code, said = machine.run("infra/commands/ssh-key", str(key))
        assert code == 0, said
        assert key.stat().st_mode & 0o777 == 0o400
    public = json.loads((machine.root / "infra" / "ssh.auto.tfvars.json").read_text())
    assert public["ssh_public_key"].startswith("ssh-rsa ")
    assert public["ssh_public_key"].split()[1] in Path(f"{key}.pub").read_text()
    assert "PRIVATE" not in json.dumps(public)
