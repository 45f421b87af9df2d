# S3 tells a queue of photos that come and go, so that Dagster's host lists the input only then.
# The host reads the queue and is not in the cluster's network: SQS needs no endpoint there. What
# the bucket tells is in storage.tf, because S3 keeps one notification configuration a bucket.

resource "aws_sqs_queue" "input" {
  count = var.input_notifications ? 1 : 0

  name                       = "${var.name}-input"
  kms_master_key_id          = aws_kms_key.data.arn # messages hold names of photos, which can name a person
  message_retention_seconds  = 1209600              # 14 days, the most there is: a host may be off for so long
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 90 # the sensor looks every 120 s: what it did not delete is there again
  tags                       = local.tags
}

# No queue of dead letters: the sensor only counts messages, and none of them can make it fail.

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
