# Every access to a photo is recorded, and the budget is monitored.

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

run "defaults" {
  command = plan

  # Every access to a photo is recorded.

  assert {
    condition     = try(toset(one([for f in one([for selector in aws_cloudtrail.this.advanced_event_selector : selector if selector.name == "photos read, written and deleted"]).field_selector : f if f.field == "resources.ARN"]).starts_with) == toset(["arn:aws:s3:::fruits-features-123456789012-eu-west-1-data/input/", "arn:aws:s3:::fruits-features-123456789012-eu-west-1-data/data/raw_images/"]), false)
    error_message = "Access to photos is not recorded."
  }

  assert {
    condition     = try(one([for f in one([for selector in aws_cloudtrail.this.advanced_event_selector : selector if selector.name == "photos read, written and deleted"]).field_selector : f if f.field == "eventCategory"]).equals == tolist(["Data"]) && !anytrue([for f in one([for selector in aws_cloudtrail.this.advanced_event_selector : selector if selector.name == "photos read, written and deleted"]).field_selector : f.field == "readOnly"]), false)
    error_message = "Only some kinds of access are recorded."
  }

  assert {
    condition     = aws_cloudtrail.this.enable_logging && aws_cloudtrail.this.enable_log_file_validation
    error_message = "The trail is off, or changes to it cannot be detected."
  }

  assert {
    condition     = aws_cloudtrail.this.kms_key_id == aws_kms_key.audit.arn
    error_message = "The trail is not encrypted with its own key."
  }

  assert {
    condition     = aws_cloudtrail.this.is_multi_region_trail && aws_cloudtrail.this.include_global_service_events
    error_message = "Activity in other regions is not recorded."
  }

  assert {
    condition     = aws_cloudtrail.this.s3_bucket_name == aws_s3_bucket.this["trail"].id
    error_message = "The trail is stored with the data."
  }

  assert {
    condition     = aws_cloudwatch_log_group.trail.retention_in_days == 365 && aws_cloudwatch_log_group.trail.kms_key_id == aws_kms_key.audit.arn
    error_message = "The trail's log group is not encrypted, or has another retention."
  }

  # Budget notifications are sent.

  assert {
    condition     = aws_budgets_budget.monthly.limit_amount == "150" && aws_budgets_budget.monthly.time_unit == "MONTHLY"
    error_message = "The budget has another limit."
  }

  assert {
    condition     = length(aws_budgets_budget.monthly.notification) == 2 && alltrue([for n in aws_budgets_budget.monthly.notification : try(contains(n.subscriber_email_addresses, "data-team@example.org"), false)])
    error_message = "Nobody is notified."
  }

  assert {
    condition     = length(aws_budgets_budget.monthly.cost_filter) == 0
    error_message = "The budget covers only part of the costs."
  }
}
