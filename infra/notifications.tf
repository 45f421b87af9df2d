# S3 sends notifications of added and deleted photos to a queue, so that Dagster's host lists the input
# only after a change. The host is not in the cluster's network, so SQS needs no endpoint there. The
# bucket's notifications are in storage.tf, because S3 has one notification configuration per bucket.

resource "aws_sqs_queue" "input" {
  count = var.input_notifications ? 1 : 0

  name                       = "${var.name}-input"
  kms_master_key_id          = aws_kms_key.data.arn # messages contain names of photos, which can identify a person
  message_retention_seconds  = 1209600              # 14 days, the maximum, in case the host is down
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 90 # the sensor polls every 120 s and then sees undeleted messages again
  tags                       = local.tags
}

# No dead-letter queue: the sensor only counts messages, so no message can make it fail.

resource "aws_sqs_queue_policy" "input" {
  count = length(aws_sqs_queue.input)

  queue_url = aws_sqs_queue.input[0].url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "S3SendsForThisBucket"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.input[0].arn
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnEquals    = { "aws:SourceArn" = local.bucket_arns["data"] }
        }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.input[0].arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
