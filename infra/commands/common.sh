# shellcheck shell=bash
# What the commands share; sourced, not run.
#
# Terraform and the AWS CLI of this machine are used, or else those of infra/compose.yaml.
# Credentials come from the environment or from `aws sso login`, nowhere else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() {
    echo "$*" >&2
}

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

compose() {
    docker compose --file infra/compose.yaml run --rm "$@"
}

if command -v terraform >/dev/null; then
    terraform() { command terraform -chdir=infra "$@"; }
elif command -v docker >/dev/null; then
    terraform() { compose terraform "$@"; }
else
    fail "there is neither Terraform (1.11 or later) nor Docker on this machine"
fi

if ! command -v aws >/dev/null; then
    aws() { compose aws "$@"; }
fi

output() { # one output of what is made
    terraform output -raw "$1" 2>/dev/null \
        || fail "Terraform's state has no $1: nothing is made here yet; run \`make up\`"
}

signed_in() {
    aws sts get-caller-identity --query Account --output text >/dev/null 2>&1 \
        || fail "no AWS credentials: \`aws sso login\`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
}
