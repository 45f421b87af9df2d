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

# One output of what is made. Only ever alone in an assignment (`x=$(output x)`): elsewhere bash goes on
# after a failure. An output that is there and empty is a failure, too.
output() {
    local value
    value=$(terraform output -raw "$1" 2>/dev/null) \
        || fail "Terraform's state has no $1: nothing is made here yet; run \`make up\`"
    [[ -n $value && $value != null ]] || fail "Terraform's state has an empty $1: run \`make up\` again"
    printf '%s' "$value"
}

end_clusters() { # <region> <name>: a cluster that `fruits` started is not in Terraform's state
    local clusters cluster
    clusters=$(aws emr list-clusters --region "$1" --active \
        --query "Clusters[?Name=='$2'].Id" --output text)
    for cluster in $clusters; do
        [[ $cluster == j-* ]] || continue
        say "ending cluster $cluster"
        aws emr terminate-clusters --region "$1" --cluster-ids "$cluster"
        aws emr wait cluster-terminated --region "$1" --cluster-id "$cluster"
    done
}

signed_in() {
    aws sts get-caller-identity --query Account --output text >/dev/null 2>&1 \
        || fail "no AWS credentials: \`aws sso login\`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
}
