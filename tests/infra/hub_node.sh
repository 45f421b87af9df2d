#!/usr/bin/env bash
# A node with JupyterHub in a container, as root, without Docker. All networks, and the container's /etc,
# homes and logs, exist only in namespaces: the machine's users, rules and files do not change.
#
#   unshare --net hub_node.sh node <empty folder> <the hub's configuration> <folder that users need>…
#
# The container starts after a line on the standard input. The processes of the other networks are in
# <empty folder>.office and .container.
set -euo pipefail
umask 022
part=$1 scratch=$2 configuration=$3
needed=("${@:4}")
bridge=br-0123456789ab # named like the networks of `docker network create`

join() { # <process of a network> <interface here> <address there> <gateway>
    local inside=(nsenter --target "$1" --net)
    until [[ $(readlink "/proc/$1/ns/net") != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.01; done
    ip link add "$2" type veth peer name eth0 netns "$1"
    ip link set "$2" up
    "${inside[@]}" ip link set lo up
    "${inside[@]}" ip address add "$3" dev eth0
    "${inside[@]}" ip link set eth0 up
    "${inside[@]}" ip route add default via "$4"
}

node() {
    ip link set lo up
    ip link add "$bridge" type bridge
    ip address add 172.18.0.1/16 dev "$bridge"
    ip link set "$bridge" up
    # The published port, as with Docker's `"userland-proxy": false`.
    sysctl --quiet net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
    local published=(-m addrtype --dst-type LOCAL -p tcp --dport 9443 -j DNAT --to 172.18.0.2:9443)
    iptables -t nat -A PREROUTING "${published[@]}"
    iptables -t nat -A OUTPUT "${published[@]}"
    iptables -t nat -A POSTROUTING -m addrtype --src-type LOCAL -o "$bridge" -j MASQUERADE

    unshare --net sleep infinity &
    echo $! >"$scratch.office"
    join $! office 10.0.0.20/24 10.0.0.10
    ip address add 10.0.0.10/24 dev office
    touch "$scratch.ready"

    read -r
    local namespaces=(--mount --net --uts --pid --fork --kill-child)
    unshare "${namespaces[@]}" "$0" container "$scratch" "$configuration" "${needed[@]}" &
    echo $! >"$scratch.container"
    join $! container 172.18.0.2/16 172.18.0.1
    ip link set container master "$bridge"
    wait $!
}

container() {
    hostname container
    mount -t proc proc /proc
    mount -t tmpfs tmpfs "$scratch"
    cp -a /etc "$scratch/etc"
    cp -a "$configuration" "$scratch/etc/jupyter"
    local folder
    for folder in "${needed[@]}"; do
        mkdir -p "$scratch/kept$folder"
        mount --bind "$folder" "$scratch/kept$folder"
    done
    mount --bind "$scratch/etc" /etc
    for folder in /home /root /var/log; do
        mount -t tmpfs -o mode=755 tmpfs "$folder"
    done
    for folder in "${needed[@]}"; do # Python may be in a home that other users cannot enter
        mkdir -p "$folder"
        mount --bind "$scratch/kept$folder" "$folder"
    done
    rm /etc/resolv.conf && touch /etc/resolv.conf # no name server can be reached
    printf '127.0.0.1 localhost\n172.18.0.2 container\n' >/etc/hosts
    sed -i '/^jovyan:/d' /etc/passwd /etc/shadow
    useradd --create-home --no-user-group --shell /bin/bash jovyan
    chpasswd <<<jovyan:jupyter # EMR's default password
    until ip route | grep -q default; do sleep 0.01; done
    cd /etc/jupyter/conf
    exec jupyterhub --config jupyterhub_config.py
}

"$part"
