#!/usr/bin/env bash
# EMR bootstrap action: keeps JupyterHub's port on the primary node closed, also to the node itself and
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

# The table `raw` is evaluated before Docker's rules. PREROUTING covers incoming packets, including `lo`;
# OUTPUT covers packets to the node's own addresses and containers. Connections to EMR on port 9443
# still work.
chains() { # <-I, -C or -D> <the command, iptables or ip6tables>
    as_root "$2" -w -t raw "$1" PREROUTING -p tcp --dport 9443 -j DROP \
        && as_root "$2" -w -t raw "$1" OUTPUT -m addrtype --dst-type LOCAL -p tcp --dport 9443 -j DROP \
        && as_root "$2" -w -t raw "$1" OUTPUT -o docker+ -p tcp --dport 9443 -j DROP
}

close() {
    command -v iptables >/dev/null || as_root dnf install -y -q iptables-nft \
        || fail "the node has no iptables and cannot install it"
    local command
    for command in iptables ip6tables; do
        chains -C "$command" 2>/dev/null && continue
        chains -I "$command" \
            || fail "cannot close port 9443: JupyterHub would be reachable with its well-known password"
    done
    echo "jupyterhub.sh: port 9443 is closed until the password is replaced"
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
WantedBy=multi-user.target"
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

    local command
    for command in iptables ip6tables; do
        while chains -C "$command" 2>/dev/null; do
            chains -D "$command" || fail "the password is replaced, but port 9443 cannot be opened again"
        done
    done
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
