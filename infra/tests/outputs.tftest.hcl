# What the rest of the project reads.

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
}

run "as_it_comes" {
  command = plan

  # The projects settings come out.

  assert {
    condition     = output.settings == { FRUITS_DEPLOYMENT = "emr", FRUITS_REGION = "eu-west-1", FRUITS_CLUSTER = "fruits-features", FRUITS_INPUT = "s3://fruits-features-123456789012-eu-west-1-data/input", FRUITS_STORAGE = "s3://fruits-features-123456789012-eu-west-1-data/data", FRUITS_INPUT_QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/a-queue" }
    error_message = "Settings are missing or wrong."
  }

  assert {
    condition     = strcontains(output.exports, "export FRUITS_REGION='eu-west-1'")
    error_message = "They are no lines for a shell."
  }

  assert {
    condition     = strcontains(output.exports, "export FRUITS_INPUT_QUEUE='https://sqs.eu-west-1.amazonaws.com/123456789012/a-queue'") && output.input_queue_url == aws_sqs_queue.input[0].url
    error_message = "Nobody is told where the queue is."
  }

  assert {
    condition     = output.bucket == "fruits-features-123456789012-eu-west-1-data" && output.cluster_name == "fruits-features" && output.release == "emr-7.13.0"
    error_message = "A name is missing or wrong."
  }
}
