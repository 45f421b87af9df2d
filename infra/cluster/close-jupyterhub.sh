#!/usr/bin/env bash
# EMR bootstrap action, only where operators may reach JupyterHub: the primary node refuses port
# 9443 from outside until the step jupyterhub-password.sh has replaced the well-known password.
#
# FRUITS_INSTANCE_INFO and SUDO (default sudo; empty: none) are for tests.
set -euo pipefail

fail() {
    echo "close-jupyterhub.sh: $*" >&2
    exit 1
}

read -ra sudo <<<"${SUDO-sudo}"
as_root() {
    ${sudo[@]+"${sudo[@]}"} "$@"
}

info=${FRUITS_INSTANCE_INFO:-/mnt/var/lib/info/instance.json}
[[ -r $info ]] || fail "cannot read $info: is this a node of EMR?"
if ! grep -Eq '"isMaster": *true' "$info"; then
    echo "close-jupyterhub.sh: no primary node, nothing to close"
    exit 0
fi

# `raw` comes before Docker's own rules; the port forward of Session Manager comes over `lo`.
rule=(-t raw PREROUTING '!' -i lo -p tcp --dport 9443 -j DROP)
command -v iptables >/dev/null || as_root dnf install -y -q iptables-nft \
    || fail "the node has no iptables and cannot install it"

if as_root iptables -w "${rule[@]:0:2}" -C "${rule[@]:2}" 2>/dev/null; then
    echo "close-jupyterhub.sh: port 9443 is closed already"
    exit 0
fi
as_root iptables -w "${rule[@]:0:2}" -I "${rule[@]:2}" \
    || fail "cannot close port 9443: the cluster would be open with its well-known password"
echo "close-jupyterhub.sh: port 9443 is closed until the password is replaced"
