"""infra/commands create the administrator's password, the certificates and the SSH key."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

from tests.infra.conftest import SYSTEM, Machine
from tests.programs import program

EVERYTHING_THERE = '[[ "$*" != *"list-secrets"* ]] || echo fruits-features/jupyterhub'


def test_the_password_is_random_encrypted_and_on_no_command_line(made: Machine) -> None:
    machine, kept, hashed = made, made.root / "kept.json", made.root / "kept.hash"
    keep = f'for a in "$@"; do [[ $a != file://* ]] || cat "${{a#file://}}" >"{kept}"; done'
    keep += f'\n[[ "$*" != *"s3 cp"* ]] || cp "${{@: -2:1}}" "{hashed}"'
    machine.program("aws", keep)
    passwords = set()
    for _ in range(2):
        code, output = machine.run("infra/commands/jupyterhub-password", "--if-missing")
        assert code == 0, output
        written = json.loads(kept.read_text())
        assert written["KmsKeyId"] == machine.outputs["data_key"]
        passwords.add(written["SecretString"])
        salt, digest = hashed.read_text().strip().rsplit("$", 1)
        assert openssl_hash(written["SecretString"], salt.removeprefix("$6$")).endswith(digest)
    assert len(passwords) == 2 and min(map(len, passwords)) >= 32
    assert not any(password in machine.calls_file.read_text() for password in passwords)
    assert list((machine.root / ".cache").iterdir()) == []


def openssl_hash(password: str, salt: str) -> str:
    """The SHA-512 hash of a password, in the format of /etc/shadow."""
    openssl = program("openssl", "openssl", SYSTEM)
    command = [openssl, "passwd", "-6", "-salt", salt, "-stdin"]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_existing_password_is_kept(made: Machine) -> None:
    machine = made
    machine.program("aws", EVERYTHING_THERE)
    machine.run("infra/commands/jupyterhub-password", "--if-missing")
    assert not machine.called("put-secret-value") and not machine.called("create-secret")


def test_certificates_have_emrs_format_and_no_key_is_left_behind(made: Machine) -> None:
    machine = made
    openssl = program("openssl", "openssl", SYSTEM)
    kept = machine.root / "kept.zip"
    copies = (
        f'[[ "$*" != *"s3 ls"* ]] || exit 1\n[[ "$*" != *"s3 cp"* ]] || cp "${{@: -2:1}}" "{kept}"'
    )
    machine.program("aws", copies)
    code, output = machine.run("infra/commands/certificates")
    assert code == 0, output
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


def test_an_ssh_key_is_created_once_and_private_to_its_owner(machine: Machine) -> None:
    program("ssh-keygen", "openssh-client", SYSTEM)
    (machine.root / "infra").mkdir(exist_ok=True)
    key = machine.root / ".ssh" / "key"
    for _ in range(2):
        code, output = machine.run("infra/commands/ssh-key", str(key))
        assert code == 0, output
        assert key.stat().st_mode & 0o777 == 0o400
    public = json.loads((machine.root / "infra" / "ssh.auto.tfvars.json").read_text())
    assert public["ssh_public_key"].startswith("ssh-rsa ")
    assert public["ssh_public_key"].split()[1] in Path(f"{key}.pub").read_text()
    assert "PRIVATE" not in json.dumps(public)
