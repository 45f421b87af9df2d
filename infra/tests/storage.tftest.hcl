# Buckets are private, encrypted with the right key, versioned, and delete old versions in time.

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

  # Buckets cannot be read from outside.

  assert {
    condition     = alltrue([for block in aws_s3_bucket_public_access_block.this : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "A bucket does not block all public access."
  }

  assert {
    condition     = length(aws_s3_bucket_public_access_block.this) == 4 && length(aws_s3_bucket_policy.this) == 4
    error_message = "A bucket has no public access block or no policy."
  }

  assert {
    condition     = alltrue([for owner in aws_s3_bucket_ownership_controls.this : owner.rule[0].object_ownership == "BucketOwnerEnforced"])
    error_message = "A bucket accepts access control lists."
  }

  assert {
    condition     = alltrue([for use, bucket in aws_s3_bucket_policy.this : try(one([for s in jsondecode(bucket.policy).Statement : s if try(s.Sid, "") == "ThisAccountOnly"]).Effect == "Deny" && one([for s in jsondecode(bucket.policy).Statement : s if try(s.Sid, "") == "ThisAccountOnly"]).Condition.StringNotEquals["aws:PrincipalAccount"] == "123456789012", false)])
    error_message = "A bucket accepts other accounts."
  }

  assert {
    condition     = alltrue([for use, bucket in aws_s3_bucket_policy.this : try(one([for s in jsondecode(bucket.policy).Statement : s if try(s.Sid, "") == "TlsOnly"]).Effect == "Deny" && one([for s in jsondecode(bucket.policy).Statement : s if try(s.Sid, "") == "TlsOnly"]).Action == "s3:*" && one([for s in jsondecode(bucket.policy).Statement : s if try(s.Sid, "") == "TlsOnly"]).Condition == { Bool = { "aws:SecureTransport" = "false" } }, false)])
    error_message = "A bucket can be used without TLS."
  }

  assert {
    condition     = alltrue([for use, bucket in aws_s3_bucket_policy.this : try(one([for s in jsondecode(bucket.policy).Statement : s if try(s.Sid, "") == "ModernTlsOnly"]).Effect == "Deny" && one([for s in jsondecode(bucket.policy).Statement : s if try(s.Sid, "") == "ModernTlsOnly"]).Condition.NumericLessThan["s3:TlsVersion"] == "1.2", false)])
    error_message = "A bucket accepts old TLS versions."
  }

  assert {
    condition     = alltrue([for use, bucket in aws_s3_bucket_policy.this : alltrue([for s in jsondecode(bucket.policy).Statement : s.Effect == "Deny" || can(s.Principal.Service)])])
    error_message = "A bucket's policy grants access to principals other than AWS services."
  }

  assert {
    condition     = alltrue([for use, bucket in aws_s3_bucket_policy.this : alltrue([for s in jsondecode(bucket.policy).Statement : s.Effect == "Deny" || can(s.Condition.StringEquals["aws:SourceAccount"]) || can(s.Condition.StringEquals["aws:SourceArn"])])])
    error_message = "A service may write to a bucket for any account."
  }

  # Everything is encrypted with the right key.

  assert {
    condition     = alltrue([for use, arn in { data = aws_kms_key.data.arn, logs = aws_kms_key.data.arn, trail = aws_kms_key.audit.arn } : one(aws_s3_bucket_server_side_encryption_configuration.this[use].rule).apply_server_side_encryption_by_default[0].kms_master_key_id == arn])
    error_message = "A bucket is not encrypted with its key."
  }

  assert {
    condition     = alltrue([for use in ["data", "logs", "trail"] : one(aws_s3_bucket_server_side_encryption_configuration.this[use].rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"])
    error_message = "A bucket is not encrypted with KMS."
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.access.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "The bucket of access logs is not encrypted."
  }

  assert {
    condition     = alltrue([for use, arn in { data = aws_kms_key.data.arn, logs = aws_kms_key.data.arn, trail = aws_kms_key.audit.arn } : try(one([for s in jsondecode(aws_s3_bucket_policy.this[use].policy).Statement : s if try(s.Sid, "") == "RightKeyOnly"]).Effect == "Deny" && one([for s in jsondecode(aws_s3_bucket_policy.this[use].policy).Statement : s if try(s.Sid, "") == "RightKeyOnly"]).Condition.StringNotEquals["s3:x-amz-server-side-encryption-aws-kms-key-id"] == arn, false)])
    error_message = "A bucket accepts objects encrypted with another key."
  }

  assert {
    condition     = alltrue([for use in ["data", "logs", "trail"] : try(one([for s in jsondecode(aws_s3_bucket_policy.this[use].policy).Statement : s if try(s.Sid, "") == "KmsOnly"]).Effect == "Deny" && one([for s in jsondecode(aws_s3_bucket_policy.this[use].policy).Statement : s if try(s.Sid, "") == "KmsOnly"]).Condition.StringNotEquals["s3:x-amz-server-side-encryption"] == "aws:kms", false)])
    error_message = "A bucket accepts objects not encrypted with KMS."
  }

  assert {
    condition     = alltrue([for use in ["data", "logs", "trail"] : try(one([for s in jsondecode(aws_s3_bucket_policy.this[use].policy).Statement : s if try(s.Sid, "") == "NoKeyOfTheCallersOwn"]).Effect == "Deny", false)])
    error_message = "A bucket accepts objects encrypted with a customer-provided key."
  }

  assert {
    condition     = aws_kms_key.data.enable_key_rotation && aws_kms_key.audit.enable_key_rotation
    error_message = "A key is not rotated."
  }

  assert {
    condition     = aws_kms_key.data.deletion_window_in_days == 30 && aws_kms_key.audit.deletion_window_in_days == 30
    error_message = "A key can be deleted in less than 30 days."
  }

  assert {
    condition     = alltrue(flatten([for key in [aws_kms_key.data, aws_kms_key.audit] : [for s in jsondecode(key.policy).Statement : can(s.Principal.Service) ? s.Condition != null : s.Principal == { AWS = "arn:aws:iam::123456789012:root" }]]))
    error_message = "A key can be used from outside the account."
  }

  # Mistakes can be undone, and deleted objects expire.

  assert {
    condition     = length(aws_s3_bucket_versioning.this) == 4 && alltrue([for bucket in aws_s3_bucket_versioning.this : bucket.versioning_configuration[0].status == "Enabled"])
    error_message = "A bucket has no versioning."
  }

  assert {
    condition     = alltrue([for bucket in concat([aws_s3_bucket_lifecycle_configuration.data], values(aws_s3_bucket_lifecycle_configuration.logs)) : try(one([for rule in bucket.rule : rule if rule.id == "deleted-means-gone"]).noncurrent_version_expiration[0].noncurrent_days == 30 && one([for rule in bucket.rule : rule if rule.id == "deleted-means-gone"]).status == "Enabled", false)])
    error_message = "Old versions never expire."
  }

  assert {
    condition     = alltrue([for bucket in concat([aws_s3_bucket_lifecycle_configuration.data], values(aws_s3_bucket_lifecycle_configuration.logs)) : anytrue([for rule in bucket.rule : try(rule.abort_incomplete_multipart_upload[0].days_after_initiation <= 7 && rule.status == "Enabled", false)])])
    error_message = "Incomplete uploads never expire."
  }

  assert {
    condition     = try(one([for rule in aws_s3_bucket_lifecycle_configuration.data.rule : rule if rule.id == "staging"]).expiration[0].days == 7 && one([for rule in aws_s3_bucket_lifecycle_configuration.data.rule : rule if rule.id == "staging"]).status == "Enabled" && one([for rule in aws_s3_bucket_lifecycle_configuration.data.rule : rule if rule.id == "staging"]).filter[0].prefix == "data/staging/", false)
    error_message = "Staging files never expire, or other objects expire with them."
  }

  assert {
    condition     = alltrue([for use, days in { logs = 90, access = 90, trail = 365 } : anytrue([for rule in aws_s3_bucket_lifecycle_configuration.logs[use].rule : try(rule.id == "kept-for-so-long" && rule.expiration[0].days == days && rule.status == "Enabled", false)])])
    error_message = "Logs never expire."
  }

  assert {
    condition     = !anytrue([for rule in aws_s3_bucket_lifecycle_configuration.data.rule : try(rule.expiration[0].days > 0 && rule.filter[0].prefix != "data/staging/", false)])
    error_message = "Photos or assets expire."
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : !bucket.force_destroy])
    error_message = "`terraform destroy` deletes data although that was not allowed."
  }

  assert {
    condition     = alltrue([for use in ["data", "logs", "trail"] : aws_s3_bucket_logging.this[use].target_bucket == aws_s3_bucket.this["access"].id])
    error_message = "Access to a bucket is not logged."
  }
}
