# Bucket policies: what is denied to every identity, and which services may write.

locals {
  refuse_all = {
    for use, arn in local.bucket_arns : use => [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [arn, "${arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "ModernTlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [arn, "${arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
      {
        Sid       = "ThisAccountOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [arn, "${arn}/*"]
        Condition = {
          StringNotEquals = { "aws:PrincipalAccount" = local.account }
          Bool            = { "aws:PrincipalIsAWSService" = "false" }
        }
      },
    ]
  }

  # A put without an encryption header gets the bucket's default. `Null` = "false": the header is set.
  refuse_other_keys = {
    for use, key in local.keys : use => [
      {
        Sid       = "RightKeyOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${local.bucket_arns[use]}/*"
        Condition = {
          StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = key }
          Null            = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" }
        }
      },
      {
        Sid       = "KmsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${local.bucket_arns[use]}/*"
        Condition = {
          StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
        }
      },
      {
        Sid       = "NoKeyOfTheCallersOwn"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${local.bucket_arns[use]}/*"
        Condition = { Null = { "s3:x-amz-server-side-encryption-customer-algorithm" = "false" } }
      },
    ]
  }

  # Applies to everyone, including administrators. `make down` deletes the receipts with the bucket.
  keep_receipts = {
    data = [for statement in [
      {
        Sid       = "ReceiptsStay"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
        Resource  = "${local.data}/${local.erasures}/receipt-*"
      },
      {
        Sid       = "ReceiptsAreNotOverwritten"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${local.data}/${local.erasures}/receipt-*"
        Condition = { Null = { "s3:if-none-match" = "true" } }
      },
    ] : statement if !var.allow_data_loss]
  }

  let_services_write = {
    trail = [
      {
        Sid       = "CloudTrailLooks"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = "s3:GetBucketAcl"
        Resource  = local.bucket_arns["trail"]
        Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
      },
      {
        Sid       = "CloudTrailWrites"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${local.bucket_arns["trail"]}/AWSLogs/${local.account}/*"
        Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn, "s3:x-amz-acl" = "bucket-owner-full-control" } }
      },
      {
        Sid       = "FlowLogsLook"
        Effect    = "Allow"
        Principal = { Service = "delivery.logs.amazonaws.com" }
        Action    = ["s3:GetBucketAcl", "s3:ListBucket"]
        Resource  = local.bucket_arns["trail"]
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
      {
        Sid       = "FlowLogsWrite"
        Effect    = "Allow"
        Principal = { Service = "delivery.logs.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${local.bucket_arns["trail"]}/flow-logs/AWSLogs/${local.account}/*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account, "s3:x-amz-acl" = "bucket-owner-full-control" } }
      },
    ]
    access = [{
      Sid       = "S3WritesAccessLogs"
      Effect    = "Allow"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "${local.bucket_arns["access"]}/*"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = [for use in ["data", "logs", "trail"] : local.bucket_arns[use]] }
      }
    }]
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  # A policy with a service principal counts as public until public access is blocked.
  depends_on = [aws_s3_bucket_public_access_block.this]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = flatten([
      local.refuse_all[each.key],
      lookup(local.refuse_other_keys, each.key, []),
      lookup(local.keep_receipts, each.key, []),
      lookup(local.let_services_write, each.key, []),
    ])
  })
}
