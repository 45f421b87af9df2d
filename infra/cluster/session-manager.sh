#!/usr/bin/env bash
# EMR bootstrap action for every node: starts Session Manager's agent, the only access to a shell and to
# JupyterHub. Steps run without it, so a failure is only reported. SUDO (default sudo; empty: none) is
# for tests.
set -euo pipefail

read -ra sudo <<<"${SUDO-sudo}"
as_root() {
    ${sudo[@]+"${sudo[@]}"} "$@"
}

agent=amazon-ssm-agent
if ! rpm --quiet -q "$agent" && ! as_root dnf install -y -q "$agent"; then
    echo "session-manager.sh: cannot install $agent: there will be no port forward, no shell" >&2
    exit 0
fi
as_root systemctl enable --now --quiet "$agent" \
    || { echo "session-manager.sh: $agent does not start: no port forward, no shell" >&2; exit 0; }
echo "session-manager.sh: $agent is running"
