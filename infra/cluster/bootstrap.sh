#!/usr/bin/env bash
# EMR bootstrap action for every node: unpacks the Python environment that `fruits cluster-env push`
# uploaded. Nothing is installed from the internet.
#
#   bootstrap.sh <region> s3://bucket/…/environments/env-<sha256>.tar.gz
#
# The name comes from Terraform. An archive with a different digest is not unpacked. Without a region, the
# AWS CLI could use S3's global endpoint, which for a new bucket is in us-east-1: out of the nodes' reach.
#
# FRUITS_ENV_PATH (default /opt/fruits/env) and SUDO (default sudo; empty: none) are for tests.
set -euo pipefail
umask 022

fail() {
    echo "bootstrap.sh: $*" >&2
    exit 1
}

[[ $# -eq 2 && $1 =~ ^[a-z]+(-[a-z]+)+-[0-9]+$ && $2 =~ ^s3://.+/env-[0-9a-f]{64}\.tar\.gz$ ]] \
    || fail "expected two arguments, the region and the s3:// URI of env-<sha256>.tar.gz; got: $*"

region=$1
uri=$2
key=$(basename "$uri" .tar.gz)
target=${FRUITS_ENV_PATH:-/opt/fruits/env}
fresh=$target.new
read -ra sudo <<<"${SUDO-sudo}"

as_root() {
    # `[@]+`: older versions of bash treat an empty array as unset.
    ${sudo[@]+"${sudo[@]}"} "$@"
}

if [[ -f $target/.key && $(<"$target/.key") == "$key" ]]; then
    echo "bootstrap.sh: $target already contains $key"
    exit 0
fi

if ! command -v python3.11 >/dev/null; then
    as_root dnf install -y -q python3.11 \
        || fail "the node has no python3.11 and cannot install it: use emr-7.13.0 or later"
fi
python=$(python3.11 -c "import sys; print(sys.base_prefix + '/bin/python3.11')")

download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
aws s3 cp --only-show-errors --region "$region" "$uri" "$download/env.tar.gz" \
    || fail "cannot download $uri: does it exist, and may this cluster's role read it?"
[[ env-$(sha256sum <"$download/env.tar.gz" | cut -d " " -f 1) == "$key" ]] \
    || fail "the digest of $uri differs from its name: delete it and run \`fruits cluster-env push\` again"

as_root rm -rf "$fresh"
as_root mkdir -p "$fresh"
as_root tar -xzf "$download/env.tar.gz" -C "$fresh" --no-same-owner \
    || fail "$uri is damaged: delete it and run \`fruits cluster-env push\` again"

# Regardless of the packer's umask: Spark's users can read it, and only root can change it.
as_root chmod -R a+rX,go-w "$fresh"

# The environment contains no Python interpreter: use this node's.
as_root ln -sfn "$python" "$fresh/bin/python"
as_root sed -i "s|^home = .*|home = $(dirname "$python")|" "$fresh/pyvenv.cfg"
"$fresh/bin/python" -c "import ai_edge_litert, boto3, dagster, deltalake, numpy, PIL, pyarrow" \
    || fail "$key does not run with $python: was it packed for Python 3.11 on x86_64?"

# Write the marker before the move, so that an environment at the target is always complete.
echo "$key" | as_root tee "$fresh/.key" >/dev/null
as_root rm -rf "$target"
as_root mv "$fresh" "$target"
echo "bootstrap.sh: unpacked $key to $target"
