# Two keys, so that access to the photos does not include reading or forging the audit trail. Roles
# are granted use of a key in their own policies (iam_*.tf), services are granted it here.

locals {
  account_administers_key = {
    Sid       = "AccountAdministersByItsOwnPolicies"
    Effect    = "Allow"
    Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }

  # Notifications of the data bucket to the queue of notifications.tf, but not of other buckets.
  s3_encrypts_notices = {
    Sid       = "S3EncryptsNotices"
    Effect    = "Allow"
    Principal = { Service = "s3.amazonaws.com" }
    Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
    Resource  = "*"
    Condition = {
      StringEquals = { "aws:SourceAccount" = local.account }
      ArnEquals    = { "aws:SourceArn" = local.bucket_arns["data"] }
    }
  }
}

resource "aws_kms_key" "data" {
  description             = "${var.name}: photos, features, logs, disks, notebooks, passwords"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.account_administers_key], var.input_notifications ? [local.s3_encrypts_notices] : [])
  })
}

resource "aws_kms_alias" "data" {
  name          = "alias/${var.name}-data"
  target_key_id = aws_kms_key.data.key_id
}

resource "aws_kms_key" "audit" {
  description             = "${var.name}: audit trail and flow logs"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.account_administers_key,
      {
        Sid       = "CloudTrailEncrypts"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = ["kms:GenerateDataKey*", "kms:Decrypt", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
      },
      {
        # The actions of AWS's own sample, "Required key policy for use with SSE-KMS buckets".
        Sid       = "FlowLogsEncrypt"
        Effect    = "Allow"
        Principal = { Service = "delivery.logs.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:logs:${var.region}:${local.account}:*" }
        }
      },
      {
        Sid       = "CloudWatchEncryptsTheTrailsGroup"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
        Condition = {
          ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:${local.trail_log_group}" }
        }
      },
    ]
  })
}

resource "aws_kms_alias" "audit" {
  name          = "alias/${var.name}-audit"
  target_key_id = aws_kms_key.audit.key_id
}
