# Outputs for the rest of the project; `eval "$(make -s env)"` exports them. Outputs that infra/commands/
# reads come from terraform_data.storage: see its comment.

locals {
  settings = merge(
    {
      FRUITS_DEPLOYMENT = "emr"
      FRUITS_REGION     = var.region
      FRUITS_CLUSTER    = var.name
      FRUITS_INPUT      = "s3://${local.bucket_names["data"]}/${local.input}"
      FRUITS_STORAGE    = "s3://${local.bucket_names["data"]}/${local.storage}"
    },
    { for queue in aws_sqs_queue.input : "FRUITS_INPUT_QUEUE" => queue.url },
  )
}

output "settings" {
  description = "The project's environment variables."
  value       = terraform_data.storage.output.settings
}

output "exports" {
  description = "The same as export lines for a shell."
  value       = join("\n", [for name, value in terraform_data.storage.output.settings : "export ${name}='${value}'"])
}

output "region" {
  description = "AWS region."
  value       = terraform_data.storage.output.region
}

output "bucket" {
  description = "Bucket of photos, assets and notebooks."
  value       = terraform_data.storage.output.buckets["data"]
}

output "storage" {
  description = "Where the assets are kept."
  value       = terraform_data.storage.output.settings.FRUITS_STORAGE
}

output "input_queue_url" {
  description = "Queue for S3's notifications of added and deleted photos; null without a queue."
  value       = one(aws_sqs_queue.input[*].url)
}

output "log_bucket" {
  description = "Bucket of the cluster's logs."
  value       = terraform_data.storage.output.buckets["logs"]
}

output "buckets" {
  description = "All buckets, by use."
  value       = terraform_data.storage.output.buckets
}

output "cluster_name" {
  description = "Name of the cluster."
  value       = terraform_data.storage.output.cluster_name
}

output "release" {
  description = "Its EMR release."
  value       = var.release
}

output "environment_uri" {
  description = "Where the packed Python environment has to be."
  value       = local.environment_uri
}

output "certificates_uri" {
  description = "Where the certificates for encryption between nodes have to be."
  value       = terraform_data.storage.output.certificates_uri
}

output "data_key" {
  description = "ARN of the key of the data."
  value       = terraform_data.storage.output.data_key
}

output "jupyterhub_secret" {
  description = "Name of the secret with JupyterHub's password. Not the password."
  value       = terraform_data.storage.output.jupyterhub_secret
}

output "jupyterhub_hash_uri" {
  description = "Where the hash of JupyterHub's password has to be. Nodes read the hash, never the password."
  value       = terraform_data.storage.output.jupyterhub_hash
}

output "quota_vcpus" {
  description = "On-demand vCPUs that the cluster needs at its start."
  value       = terraform_data.storage.output.quota_vcpus
}

output "quota_spot_vcpus" {
  description = "vCPUs of spot instances that the cluster needs at its start; 0 without spot nodes."
  value       = terraform_data.storage.output.quota_spot_vcpus
}

output "jupyterhub" {
  description = "How to open JupyterHub without an open port."
  value       = "infra/commands/jupyterhub, then https://localhost:9443 as jovyan"
}

output "dagster_role" {
  description = "Role of Dagster's host; null without dagster_principals."
  value       = one(aws_iam_role.dagster[*].arn)
}

output "erasure_role" {
  description = "Role for deleting a person's photos; null without erasure_principals."
  value       = one(aws_iam_role.erasure[*].arn)
}

output "ci_role" {
  description = "Role of CI; null without github_repository."
  value       = one(aws_iam_role.ci[*].arn)
}
