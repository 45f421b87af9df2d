#!/usr/bin/env bash
# EMR bootstrap action: keeps JupyterHub's ports on the primary node closed, also to the node itself and
# to Session Manager, until the well-known default password has been replaced.
#
#   jupyterhub.sh install <region> s3://bucket/….hash    bootstrap: both units, port closed
#   jupyterhub.sh close                                  first unit, before Docker starts
#   jupyterhub.sh open <region> s3://bucket/….hash       second unit, retried until it succeeds
#
# It is a systemd unit rather than a step, so that it runs on every cluster and after every restart. If
# it fails, the port stays closed. Nodes get the password's hash, so no program on them can read the
# password.
# FRUITS_INSTANCE_INFO, FRUITS_SYSTEM, FRUITS_WAIT_SECONDS and SUDO are for tests.
set -euo pipefail

fail() {
    echo "jupyterhub.sh: $*" >&2
    exit 1
}

read -ra sudo <<<"${SUDO-sudo}"
as_root() {
    # `[@]+`: an empty list is an error to older versions of bash.
    ${sudo[@]+"${sudo[@]}"} "$@"
}

system=${FRUITS_SYSTEM:-}
here=$system/opt/fruits/jupyterhub.sh
units=$system/etc/systemd/system

# The proxy's port and the hub's own, which has the same login page.
ports=(9443 8081)

# The table `raw` is evaluated before Docker's rules. PREROUTING covers incoming packets, including `lo`;
# OUTPUT covers packets to the node's own addresses and to containers: Docker's networks are docker0 and
# br-<id>. Connections to EMR on port 9443 still work.
ways=("PREROUTING" "OUTPUT -m addrtype --dst-type LOCAL" "OUTPUT -o docker+" "OUTPUT -o br-+")

each_rule() { # <function>, called with each rule's command, chain and match
    local command port way
    for command in iptables ip6tables; do
        for port in "${ports[@]}"; do
            for way in "${ways[@]}"; do
                read -ra way <<<"$way"
                "$1" "$command" "${way[@]}" -p tcp --dport "$port" -j DROP || return
            done
        done
    done
}

raw() { # <command> <-C, -I or -D> <chain and match>
    as_root "$1" -w -t raw "${@:2}"
}

add() {
    raw "$1" -C "${@:2}" 2>/dev/null || raw "$1" -I "${@:2}"
}

remove() {
    while raw "$1" -C "${@:2}" 2>/dev/null; do
        raw "$1" -D "${@:2}" || return
    done
}

close() {
    command -v iptables >/dev/null || as_root dnf install -y -q iptables-nft \
        || fail "the node has no iptables and cannot install it"
    each_rule add \
        || fail "cannot close the ports: JupyterHub would be reachable with its well-known password"
    echo "jupyterhub.sh: ports ${ports[*]} are closed until the password is replaced"
}

unit() { # <name> <text>
    printf '%s\n' "$2" | as_root tee "$units/$1" >/dev/null
}

install() {
    local info=${FRUITS_INSTANCE_INFO:-/mnt/var/lib/info/instance.json}
    [[ -r $info ]] || fail "cannot read $info: is this a node of EMR?"
    if ! grep -Eq '"isMaster": *true' "$info"; then
        echo "jupyterhub.sh: not the primary node, nothing to close"
        return
    fi
    close
    as_root mkdir -p "$(dirname "$here")" "$units"
    as_root cp "$0" "$here"
    as_root chmod 0755 "$here"
    unit fruits-jupyterhub-closed.service "[Unit]
Description=Closes JupyterHub's port
Before=docker.service
[Service]
Type=oneshot
ExecStart=$here close
[Install]
WantedBy=multi-user.target
RequiredBy=docker.service"
    unit fruits-jupyterhub-password.service "[Unit]
Description=Replaces JupyterHub's default password, then opens its port
After=network-online.target docker.service fruits-jupyterhub-closed.service
Requires=fruits-jupyterhub-closed.service
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=$here open $1 $2
Restart=on-failure
RestartSec=15
[Install]
WantedBy=multi-user.target docker.service"
    as_root systemctl daemon-reload
    as_root systemctl enable --quiet fruits-jupyterhub-closed.service fruits-jupyterhub-password.service
    # The container starts after the bootstrap actions, so do not wait for it here.
    as_root systemctl start --no-block fruits-jupyterhub-password.service
}

# Since EMR 7.4, Livy uses HTTPS if traffic is encrypted, with the cluster's own certificate, which
# sparkmagic does not trust. Both run on the same node, so the certificate is not verified.
configure_sparkmagic() {
    as_root docker exec -i jupyterhub python3 - <<'PYTHON'
import glob, json

for name in glob.glob("/home/*/.sparkmagic/config.json") + glob.glob("/etc/jupyter/conf/*.json"):
    with open(name) as file:
        config = json.load(file)
    sessions = [value for key, value in config.items() if key.endswith("_credentials")]
    for session in sessions:
        session["url"] = session["url"].replace("http://", "https://", 1)
    if sessions:
        config["ignore_ssl_errors"] = True
        with open(name, "w") as file:
            json.dump(config, file, indent=2)
        print("jupyterhub.sh: sparkmagic uses HTTPS for Livy:", name)
PYTHON
}

open() {
    local hash until uri=$2
    hash=$(aws s3 cp --only-show-errors --region "$1" "$uri" -) \
        || fail "cannot read $uri: does it exist (infra/commands/jupyterhub-password), and may this role read it?"
    [[ $hash =~ ^\$6\$[./A-Za-z0-9]{8,16}\$[./A-Za-z0-9]{86}$ ]] \
        || fail "$uri is not a SHA-512 password hash: run infra/commands/jupyterhub-password"

    until=$((SECONDS + ${FRUITS_WAIT_SECONDS:-300}))
    until as_root docker exec jupyterhub id jovyan >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "JupyterHub's container is not running: is the application installed?"
        sleep 2
    done
    as_root docker exec -i jupyterhub chpasswd --encrypted <<<"jovyan:$hash" \
        || fail "JupyterHub's container did not accept the password"
    echo "jupyterhub.sh: set jovyan's password to the one with the hash $uri"
    configure_sparkmagic \
        || echo "jupyterhub.sh: sparkmagic is not configured: notebooks cannot connect to Livy" >&2

    each_rule remove || fail "the password is replaced, but the ports cannot be opened again"
    echo "jupyterhub.sh: port 9443 is open on the node; security groups restrict access to it"
}

case "${1:-} $#" in
    "close 1") close ;;
    "install 3" | "open 3")
        [[ $3 == s3://*/*.hash ]] || fail "expected the s3:// URI of the password's hash; got: $3"
        "$@"
        ;;
    *) fail "expected install <region> <uri>, close, or open <region> <uri>; got: $*" ;;
esac
