# Four buckets: data, the cluster's logs, the audit trail, and S3's access logs of those three.

locals {
  buckets = toset(["data", "logs", "trail", "access"])

  log_days = {
    logs   = var.log_days
    trail  = var.trail_days
    access = var.log_days
  }

  keys = {
    data  = aws_kms_key.data.arn
    logs  = aws_kms_key.data.arn
    trail = aws_kms_key.audit.arn
  }
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets

  bucket        = local.bucket_names[each.key]
  force_destroy = var.allow_data_loss
  tags          = local.tags

  # It can be enabled for a bucket but never disabled.
  object_lock_enabled = each.key == "trail" && var.trail_lock_days != null
}

# Optional: it also applies to the owner of the account.
resource "aws_s3_bucket_object_lock_configuration" "trail" {
  count = var.trail_lock_days == null ? 0 : 1

  bucket     = aws_s3_bucket.this["trail"].id
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    default_retention {
      mode = "COMPLIANCE"
      days = var.trail_lock_days
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.buckets

  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.keys

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = each.value
    }
  }
}

# S3 writes access logs only to buckets encrypted with SSE-S3.
resource "aws_s3_bucket_server_side_encryption_configuration" "access" {
  bucket = aws_s3_bucket.this["access"].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_logging" "this" {
  for_each = local.keys

  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = aws_s3_bucket.this["access"].id
  target_prefix = "${each.key}/"
}

# EventBridge costs nothing until there is a rule. The queue: see notifications.tf.
resource "aws_s3_bucket_notification" "this" {
  for_each = local.buckets

  bucket      = aws_s3_bucket.this[each.key].id
  eventbridge = true

  dynamic "queue" {
    for_each = each.key == "data" ? aws_sqs_queue.input : []

    content {
      id            = "photos"
      queue_arn     = queue.value.arn
      events        = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
      filter_prefix = "${local.input}/"
    }
  }

  # S3 sends a test message immediately and refuses a queue that does not accept it.
  depends_on = [aws_sqs_queue_policy.input]
}

resource "aws_s3_bucket_lifecycle_configuration" "data" {
  bucket = aws_s3_bucket.this["data"].id

  # Version rules have no effect before versioning is enabled.
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "nothing-half-uploaded"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  rule {
    id     = "deleted-means-gone"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.old_version_days
    }

    # Remove a delete marker together with the object's last version.
    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "staging"
    status = "Enabled"

    filter {
      prefix = "${local.staging}/"
    }

    expiration {
      days = var.staging_days
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  for_each = local.log_days

  bucket = aws_s3_bucket.this[each.key].id

  # Version rules have no effect before versioning is enabled.
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "nothing-half-uploaded"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  rule {
    id     = "deleted-means-gone"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.old_version_days
    }
  }

  rule {
    id     = "kept-for-so-long"
    status = "Enabled"
    filter {}

    expiration {
      days = each.value
    }
  }
}

resource "aws_s3_object" "cluster_scripts" {
  for_each = local.cluster_scripts

  bucket      = aws_s3_bucket.this["data"].id
  key         = each.value
  source      = "${path.module}/cluster/${each.key}"
  source_hash = filemd5("${path.module}/cluster/${each.key}")
  kms_key_id  = aws_kms_key.data.arn
  tags        = local.tags

  depends_on = [terraform_data.storage]
}

# Resources needed before anything is put into a bucket: `make up` creates them first. After an
# `apply -target`, Terraform does not save outputs that depend only on variables. Outputs that the
# commands read before the complete apply therefore pass through this resource.
resource "terraform_data" "storage" {
  input = {
    buckets           = local.bucket_names
    certificates_uri  = local.certificates
    cluster_name      = var.name
    data_key          = aws_kms_key.data.arn
    jupyterhub_secret = local.secret_name
    jupyterhub_hash   = local.password_hash_uri
    quota_vcpus       = tostring(local.vcpus_at_start)
    quota_spot_vcpus  = tostring(local.spot_vcpus_at_start)
    region            = var.region
    settings          = local.settings
  }

  depends_on = [
    aws_s3_bucket_lifecycle_configuration.data,
    aws_s3_bucket_lifecycle_configuration.logs,
    aws_s3_bucket_logging.this,
    aws_s3_bucket_notification.this,
    aws_s3_bucket_ownership_controls.this,
    aws_s3_bucket_policy.this,
    aws_s3_bucket_public_access_block.this,
    aws_s3_bucket_server_side_encryption_configuration.access,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
  ]
}
