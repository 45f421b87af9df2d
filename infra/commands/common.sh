# shellcheck shell=bash
# Functions shared by the commands; sourced, not executed.
#
# Uses Terraform and the AWS CLI of this machine, or those of infra/compose.yaml if not installed.
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
    fail "neither Terraform (1.11 or later) nor Docker is installed"
fi

if ! command -v aws >/dev/null; then
    aws() { compose aws "$@"; }
fi

# Prints one Terraform output. Use it only alone in an assignment (`x=$(output x)`): elsewhere bash
# continues after a failure. An empty output is also a failure.
output() {
    local value
    value=$(terraform output -raw "$1" 2>/dev/null) \
        || fail "Terraform's state has no output $1: nothing has been created yet; run \`make up\`"
    [[ -n $value && $value != null ]] || fail "Terraform's output $1 is empty: run \`make up\` again"
    printf '%s' "$value"
}

terminate_clusters() { # <region> <name>: clusters started by `fruits` are not in Terraform's state
    local clusters cluster
    clusters=$(aws emr list-clusters --region "$1" --active \
        --query "Clusters[?Name=='$2'].Id" --output text)
    for cluster in $clusters; do
        [[ $cluster == j-* ]] || continue
        say "terminating cluster $cluster"
        aws emr terminate-clusters --region "$1" --cluster-ids "$cluster"
        aws emr wait cluster-terminated --region "$1" --cluster-id "$cluster"
    done
}

# Prints the id of a cluster that accepts steps or will; nothing if there is none. `--active` would include
# clusters that are terminating.
find_cluster() { # <region> <name>
    aws emr list-clusters --region "$1" --cluster-states STARTING BOOTSTRAPPING RUNNING WAITING \
        --query "Clusters[?Name=='$2'] | [0].Id" --output text
}

require_credentials() { # STS gives the same answer in each region that every account has
    aws sts get-caller-identity --region eu-west-1 --query Account --output text >/dev/null 2>&1 \
        || fail "no AWS credentials: \`aws sso login\`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
}
