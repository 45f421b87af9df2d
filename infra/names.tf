# The account, the region, and the names of resources.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition

  # AmazonEMRServicePolicy_v2 only applies to resources that have the first tag.
  tags = {
    "for-use-with-amazon-emr-managed-policies" = "true"
    "project"                                  = var.name
  }

  bucket_names = {
    for use in local.buckets : use => "${var.name}-${local.account}-${var.region}-${use}"
  }

  bucket_arns = {
    for use, name in local.bucket_names : use => "arn:${local.partition}:s3:::${name}"
  }

  # Literal ARNs, because roles, keys and policies reference each other.
  role_arn_start = "arn:${local.partition}:iam::${local.account}:role/"
  trail_name     = "${var.name}-${var.region}"
  trail_arn      = "arn:${local.partition}:cloudtrail:${var.region}:${local.account}:trail/${local.trail_name}"
  clusters_arn   = "arn:${local.partition}:elasticmapreduce:${var.region}:${local.account}:cluster/*"
}
