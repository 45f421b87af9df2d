# S3 notifies one queue of added and deleted photos; no one else writes to it, and only Dagster reads it.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  override_during = plan
  target          = aws_kms_key.data
  values          = { arn = "arn:aws:kms:eu-west-1:123456789012:key/da7a0000-0000-0000-0000-000000000000" }
}

override_resource {
  override_during = plan
  target          = aws_kms_key.audit
  values          = { arn = "arn:aws:kms:eu-west-1:123456789012:key/a0d17000-0000-0000-0000-000000000000" }
}

variables {
  environment_archive = "env-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.tar.gz"
  budget_emails       = ["data-team@example.org"]
  dagster_principals  = ["arn:aws:iam::123456789012:role/dagster-host"]
}

run "defaults" {
  command = plan

  # Only added and deleted photos are reported.

  assert {
    condition     = try(one(aws_s3_bucket_notification.this["data"].queue).queue_arn == aws_sqs_queue.input[0].arn, false)
    error_message = "The bucket does not notify the queue."
  }

  assert {
    condition     = try(one(aws_s3_bucket_notification.this["data"].queue).events == toset(["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]), false)
    error_message = "Added or deleted photos are not reported."
  }

  assert {
    condition     = try(one(aws_s3_bucket_notification.this["data"].queue).filter_prefix == "input/" && one(aws_s3_bucket_notification.this["data"].queue).filter_suffix == null, false)
    error_message = "Objects other than photos are reported, or some photos are not."
  }

  assert {
    condition     = alltrue([for use, bucket in aws_s3_bucket_notification.this : use == "data" || length(bucket.queue) == 0])
    error_message = "Another bucket notifies the queue."
  }

  # A host that was down misses nothing, and undeleted messages are visible at the next poll.

  assert {
    condition     = aws_sqs_queue.input[0].message_retention_seconds == 14 * 24 * 3600
    error_message = "Messages are lost before 14 days."
  }

  assert {
    condition     = aws_sqs_queue.input[0].receive_wait_time_seconds == 20
    error_message = "Long polling is off: messages are missed, and every poll is billed."
  }

  assert {
    condition     = aws_sqs_queue.input[0].visibility_timeout_seconds >= 30 && aws_sqs_queue.input[0].visibility_timeout_seconds < 120
    error_message = "A message is not visible again at the sensor's next poll, or already within the same poll."
  }

  # Names of photos are encrypted with the data's key, which S3 may use only for this queue.

  assert {
    condition     = aws_sqs_queue.input[0].kms_master_key_id == aws_kms_key.data.arn
    error_message = "The queue is not encrypted with the data's key."
  }

  assert {
    condition = one([for s in jsondecode(aws_kms_key.data.policy).Statement : s if can(s.Principal.Service)]) == {
      Sid       = "S3EncryptsNotices"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
      Resource  = "*"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::fruits-features-123456789012-eu-west-1-data" }
      }
    }
    error_message = "S3 cannot encrypt its messages, or may use the key for other buckets."
  }

  # Only S3 can write to the queue, for this bucket of this account, and only with TLS.

  assert {
    condition     = aws_sqs_queue_policy.input[0].queue_url == aws_sqs_queue.input[0].url
    error_message = "The policy belongs to another queue."
  }

  assert {
    condition = [for s in jsondecode(aws_sqs_queue_policy.input[0].policy).Statement : s if s.Effect == "Allow"] == [{
      Sid       = "S3SendsForThisBucket"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = "arn:aws:sqs:eu-west-1:123456789012:a-queue"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::fruits-features-123456789012-eu-west-1-data" }
      }
    }]
    error_message = "The queue is open to others than S3 for this bucket, or S3 may do more than send."
  }

  assert {
    condition = [for s in jsondecode(aws_sqs_queue_policy.input[0].policy).Statement : s if s.Effect == "Deny"] == [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "arn:aws:sqs:eu-west-1:123456789012:a-queue"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "The queue can be used without TLS."
  }
}

run "no_queue_and_no_notifications_when_switched_off" {
  command = plan

  variables {
    input_notifications = false
  }

  assert {
    condition     = length(aws_sqs_queue.input) + length(aws_sqs_queue_policy.input) + length(aws_s3_bucket_notification.this["data"].queue) == 0
    error_message = "There is a queue although none was requested."
  }

  assert {
    condition     = alltrue([for s in jsondecode(aws_kms_key.data.policy).Statement : !can(s.Principal.Service)])
    error_message = "S3 may use the key although there is no queue."
  }

  assert {
    condition     = !anytrue([for s in jsondecode(aws_iam_role_policy.dagster[0].policy).Statement : anytrue([for action in flatten([s.Action]) : startswith(action, "sqs:")])])
    error_message = "Dagster's host may read a queue that does not exist."
  }
}
