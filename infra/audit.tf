# The audit trail: CloudTrail records every access to a photo.

locals {
  trail_log_group = "/${var.name}/trail"
}

resource "aws_cloudtrail" "this" {
  name                          = local.trail_name
  s3_bucket_name                = aws_s3_bucket.this["trail"].id
  kms_key_id                    = aws_kms_key.audit.arn
  cloud_watch_logs_group_arn    = "${aws_cloudwatch_log_group.trail.arn}:*"
  cloud_watch_logs_role_arn     = aws_iam_role.trail.arn
  sns_topic_name                = aws_sns_topic.trail.arn
  enable_logging                = true
  enable_log_file_validation    = true
  include_global_service_events = true
  is_multi_region_trail         = true
  tags                          = local.tags

  advanced_event_selector {
    name = "changes of the account"

    field_selector {
      field  = "eventCategory"
      equals = ["Management"]
    }
  }

  advanced_event_selector {
    name = "photos read, written and deleted"

    field_selector {
      field  = "eventCategory"
      equals = ["Data"]
    }
    field_selector {
      field  = "resources.type"
      equals = ["AWS::S3::Object"]
    }
    field_selector {
      field       = "resources.ARN"
      starts_with = [for folder in local.photo_folders : "${local.data}/${folder}/"]
    }
  }

  depends_on = [aws_s3_bucket_policy.this, aws_iam_role_policy.trail, aws_sns_topic_policy.trail]
}

resource "aws_cloudwatch_log_group" "trail" {
  name              = local.trail_log_group
  retention_in_days = 365
  kms_key_id        = aws_kms_key.audit.arn
  tags              = local.tags
}

resource "aws_iam_role" "trail" {
  name = "${var.name}-trail"
  tags = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
    }]
  })
}

resource "aws_iam_role_policy" "trail" {
  name = "write-its-log-group"
  role = aws_iam_role.trail.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:${local.trail_log_group}:log-stream:*"
    }]
  })
}

# Notified of each new file of the trail; subscribe the people who monitor it.
resource "aws_sns_topic" "trail" {
  name              = "${var.name}-trail"
  kms_master_key_id = aws_kms_key.audit.id
  tags              = local.tags
}

resource "aws_sns_topic_policy" "trail" {
  arn = aws_sns_topic.trail.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "CloudTrailPublishes"
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "SNS:Publish"
      Resource  = aws_sns_topic.trail.arn
      Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
    }]
  })
}
