#!/usr/bin/env bash
# EMR step: gives JupyterHub's administrator jovyan the password of a secret, in place of the one
# that everybody knows, and then lets port 9443 be reached where bootstrap had closed it.
#
#   jupyterhub-password.sh <region> <name of the secret>
#
# The password is on no command line and in no log. FRUITS_WAIT_SECONDS and SUDO are for tests.
set -euo pipefail

fail() {
    echo "jupyterhub-password.sh: $*" >&2
    exit 1
}

read -ra sudo <<<"${SUDO-sudo}"
as_root() {
    ${sudo[@]+"${sudo[@]}"} "$@"
}

[[ $# -eq 2 && $1 == eu-* && -n $2 ]] \
    || fail "wants two arguments, a region and the name of a secret; got: $*"
region=$1 secret=$2

password=$(aws secretsmanager get-secret-value --region "$region" --secret-id "$secret" \
    --query SecretString --output text) \
    || fail "cannot read $secret: has it a value (infra/commands/jupyterhub-password), and may this role read it?"
((${#password} >= 16)) || fail "the password in $secret is shorter than 16 characters"
[[ $password != *[$':\n']* ]] || fail "the password in $secret has a colon or a line break"

# The container may start a little after the step.
until=$((SECONDS + ${FRUITS_WAIT_SECONDS:-300}))
until as_root docker exec jupyterhub id jovyan >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "JupyterHub's container does not run: was the application installed?"
    sleep 2
done

as_root docker exec -i jupyterhub chpasswd <<<"jovyan:$password" \
    || fail "JupyterHub's container did not take the password"
echo "jupyterhub-password.sh: jovyan has the password of $secret"

rule=(-t raw PREROUTING '!' -i lo -p tcp --dport 9443 -j DROP)
command -v iptables >/dev/null || exit 0
while as_root iptables -w "${rule[@]:0:2}" -C "${rule[@]:2}" 2>/dev/null; do
    as_root iptables -w "${rule[@]:0:2}" -D "${rule[@]:2}" \
        || fail "the password is replaced, but port 9443 cannot be opened again"
    echo "jupyterhub-password.sh: port 9443 is open to the operators' ranges"
done
