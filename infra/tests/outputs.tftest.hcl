# Outputs for the rest of the project.

# Computed values are unknown before the apply, as in an account.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/da7a0000-0000-0000-0000-000000000000" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = {
      arn = "arn:aws:sqs:eu-west-1:123456789012:a-queue"
      url = "https://sqs.eu-west-1.amazonaws.com/123456789012/a-queue"
    }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::a-bucket" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/a-role" }
  }

  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/a-profile" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:a-group" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-west-1:123456789012:a-topic" }
  }
}

variables {
  environment_archive = "env-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.tar.gz"
  budget_emails       = ["data-team@example.org"]
}

# What `make up` applies first, and the outputs it reads before the complete apply. After a targeted
# apply, Terraform does not save outputs that depend only on variables.
run "storage_first" {
  command = apply

  plan_options {
    target = [terraform_data.storage]
  }
}

# The next run cannot reference an output that was not saved, and fails.
run "outputs_that_make_up_reads" {
  command = plan

  variables {
    name   = run.storage_first.cluster_name
    region = run.storage_first.region
  }

  assert {
    condition = (
      run.storage_first.storage == "s3://fruits-features-123456789012-eu-west-1-data/data"
      && run.storage_first.bucket == "fruits-features-123456789012-eu-west-1-data"
      && run.storage_first.certificates_uri == "s3://fruits-features-123456789012-eu-west-1-data/cluster/certificates.zip"
      && run.storage_first.jupyterhub_secret == "fruits-features/jupyterhub"
      && run.storage_first.jupyterhub_hash_uri == "s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub-password.hash"
      && run.storage_first.data_key == "arn:aws:kms:eu-west-1:123456789012:key/da7a0000-0000-0000-0000-000000000000"
      && run.storage_first.quota_vcpus == "12"
      && run.storage_first.quota_spot_vcpus == "0"
    )
    error_message = "make up stops after the buckets because an output that it reads is missing."
  }
}

run "everything" {
  command = apply

  # The project's settings are outputs.

  assert {
    condition     = output.settings == { FRUITS_DEPLOYMENT = "emr", FRUITS_REGION = "eu-west-1", FRUITS_CLUSTER = "fruits-features", FRUITS_INPUT = "s3://fruits-features-123456789012-eu-west-1-data/input", FRUITS_STORAGE = "s3://fruits-features-123456789012-eu-west-1-data/data", FRUITS_INPUT_QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/a-queue" }
    error_message = "Settings are missing or wrong."
  }

  assert {
    condition     = strcontains(output.exports, "export FRUITS_REGION='eu-west-1'")
    error_message = "The exports are not shell lines."
  }

  assert {
    condition     = strcontains(output.exports, "export FRUITS_INPUT_QUEUE='https://sqs.eu-west-1.amazonaws.com/123456789012/a-queue'") && output.input_queue_url == aws_sqs_queue.input[0].url
    error_message = "No output contains the URL of the queue."
  }

  assert {
    condition     = output.bucket == "fruits-features-123456789012-eu-west-1-data" && output.cluster_name == "fruits-features" && output.release == "emr-7.13.0"
    error_message = "A name is missing or wrong."
  }
}
