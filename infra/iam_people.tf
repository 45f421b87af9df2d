# Roles for Dagster's host, erasure and CI. Each is created only if its principals are configured.

locals {
  use_of_data_key = {
    Sid      = "UseTheKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = aws_kms_key.data.arn
  }
  see_bucket = {
    Sid      = "SeeThatTheBucketIsSafe"
    Effect   = "Allow"
    Action   = ["s3:GetBucketLocation", "s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration"]
    Resource = local.data
  }
  list_input_and_storage = {
    Sid      = "ListFolders"
    Effect   = "Allow"
    Action   = "s3:ListBucket"
    Resource = local.data
    # `IfExists`: S3 evaluates this permission, without a prefix, to choose between "not found" and
    # "access denied" for a missing key, which every Delta reader requests (`_last_checkpoint`). A
    # listing without a prefix looks the same to IAM, so it is allowed: it shows names, but no content.
    Condition = { StringLikeIfExists = { "s3:prefix" = flatten([for folder in [local.input, local.storage] : [folder, "${folder}/*"]]) } }
  }
  read_input_and_storage = {
    Sid      = "Read"
    Effect   = "Allow"
    Action   = "s3:GetObject"
    Resource = flatten(local.readable)
  }
  look_at_clusters = {
    Sid    = "LookAtClusters"
    Effect = "Allow"
    Action = [
      "elasticmapreduce:DescribeCluster", "elasticmapreduce:DescribeStep",
      "elasticmapreduce:ListInstances", "elasticmapreduce:ListSteps",
    ]
    Resource  = local.clusters_arn
    Condition = { StringEquals = { "aws:ResourceTag/project" = var.name } }
  }
  find_clusters = {
    Sid       = "FindClusters"
    Effect    = "Allow"
    Action    = "elasticmapreduce:ListClusters" # has no resource types
    Resource  = "*"
    Condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
  }
  hear_of_photos = [for queue in aws_sqs_queue.input : {
    Sid      = "HearOfPhotos"
    Effect   = "Allow"
    Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    Resource = queue.arn
  }]
}

# Only the calls of fruits_assets/emr/launcher.py, cluster*.py, code_package.py, notifications.py and
# spark_src/io/residency.py.
resource "aws_iam_role" "dagster" {
  count = length(var.dagster_principals) > 0 ? 1 : 0

  name                 = "${var.name}-dagster"
  max_session_duration = 43200 # a run of a million photos takes hours
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = var.dagster_principals }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "dagster" {
  count = length(aws_iam_role.dagster)

  name = "what-the-launcher-calls"
  role = aws_iam_role.dagster[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      local.find_clusters,
      local.look_at_clusters,
      {
        Sid       = "RunStepsAndEndClusters"
        Effect    = "Allow"
        Action    = ["elasticmapreduce:AddJobFlowSteps", "elasticmapreduce:CancelSteps", "elasticmapreduce:TerminateJobFlows"]
        Resource  = local.clusters_arn
        Condition = { StringEquals = { "aws:ResourceTag/project" = var.name } }
      },
      {
        # RunJobFlow has no resource types: with an ARN, AWS would refuse it.
        Sid       = "StartClusters"
        Effect    = "Allow"
        Action    = "elasticmapreduce:RunJobFlow"
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestTag/project" = var.name, "aws:RequestedRegion" = var.region } }
      },
      {
        # This and the next are part of RunJobFlow. `IfExists`: AWS does not document whether a cluster that
        # is being created has its tags. Clusters of other projects are refused by their tag.
        Sid      = "TagThem"
        Effect   = "Allow"
        Action   = "elasticmapreduce:AddTags"
        Resource = local.clusters_arn
        Condition = {
          StringEquals         = { "aws:RequestTag/project" = var.name }
          StringEqualsIfExists = { "aws:ResourceTag/project" = var.name }
        }
      },
      {
        Sid       = "GiveThemTheirPolicies"
        Effect    = "Allow"
        Action    = ["elasticmapreduce:PutAutoTerminationPolicy", "elasticmapreduce:PutManagedScalingPolicy"]
        Resource  = local.clusters_arn
        Condition = { StringEqualsIfExists = { "aws:ResourceTag/project" = var.name } }
      },
      {
        Sid       = "PassTheServicesRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = "${local.role_arn_start}${local.service_role}"
        Condition = { StringEquals = { "iam:PassedToService" = "elasticmapreduce.amazonaws.com" } }
      },
      {
        Sid       = "PassTheNodesRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = "${local.role_arn_start}${local.node_role}"
        Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
      },
      local.see_bucket,
      local.list_input_and_storage,
      local.read_input_and_storage,
      {
        Sid      = "ReadHowTheClusterStarts"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${local.data}/${local.cluster_arguments}/${var.name}.json"
      },
      {
        Sid      = "WriteAssets"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = [for folder in concat(local.asset_folders, [local.staging, local.locks]) : "${local.data}/${folder}/*"]
      },
      {
        Sid      = "ReadAStepsLog"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${local.bucket_arns["logs"]}/emr/*/steps/*"
      },
      {
        # Without it, S3 returns "access denied" instead of "not found" for a log that does not exist yet.
        Sid       = "SeeWhetherALogIsThere"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket_arns["logs"]
        Condition = { StringLikeIfExists = { "s3:prefix" = "emr/*/steps/*" } }
      },
      local.use_of_data_key,
    ], local.hear_of_photos)
  })
}

# Deletes a person's photos with every version, and the data derived from them.
resource "aws_iam_role" "erasure" {
  count = length(var.erasure_principals) > 0 ? 1 : 0

  name                 = "${var.name}-erasure"
  max_session_duration = 3600
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = var.erasure_principals }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "erasure" {
  count = length(aws_iam_role.erasure)

  name = "delete-every-version"
  role = aws_iam_role.erasure[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.see_bucket,
      {
        Sid       = "ListEveryVersion"
        Effect    = "Allow"
        Action    = ["s3:ListBucket", "s3:ListBucketVersions"]
        Resource  = local.data
        Condition = local.list_input_and_storage.Condition
      },
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = flatten(local.readable)
      },
      {
        # Photos, table files, staging files, locks and completed requests, but not receipts. Every start
        # of a cluster leaves versions of a lock, and an erasure must leave no earlier versions.
        Sid    = "DeleteEveryVersion"
        Effect = "Allow"
        Action = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
        Resource = [
          for folder in concat([local.input], local.asset_folders, [local.staging, local.locks, "${local.erasures}/pending-"]) :
          endswith(folder, "-") ? "${local.data}/${folder}*" : "${local.data}/${folder}/*"
        ]
      },
      {
        # Incomplete uploads can also contain a person's data.
        Sid      = "FindUnfinishedUploads"
        Effect   = "Allow"
        Action   = "s3:ListBucketMultipartUploads"
        Resource = local.data
      },
      {
        Sid      = "EndUnfinishedUploads"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = flatten(["${local.data}/${local.input}/*", "${local.data}/${local.storage}/*"])
      },
      {
        # Tables without the person's rows, and the progress of a request.
        Sid      = "WriteTablesAndRequests"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = concat([for folder in local.asset_folders : "${local.data}/${folder}/*"], ["${local.data}/${local.erasures}/pending-*"])
      },
      {
        # Without the person's rows. No other file of the input can be written.
        Sid      = "WriteLabels"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${local.data}/${local.input}/labels.csv"
      },
      {
        # A receipt is written once: with `If-None-Match`, S3 refuses to overwrite it.
        Sid       = "WriteReceiptsOnce"
        Effect    = "Allow"
        Action    = "s3:PutObject"
        Resource  = "${local.data}/${local.erasures}/receipt-*"
        Condition = { Null = { "s3:if-none-match" = "false" } }
      },
      local.use_of_data_key,
    ]
  })
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.github_repository != null && var.github_oidc_provider == null ? 1 : 0

  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
  tags           = local.tags
}

# CI on the main branch: reads data and runs the checks. It cannot write or start anything.
resource "aws_iam_role" "ci" {
  count = var.github_repository == null ? 0 : 1

  name                 = "${var.name}-ci"
  max_session_duration = 3600
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = var.github_oidc_provider != null ? var.github_oidc_provider : aws_iam_openid_connect_provider.github[0].arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:${var.github_repository}:ref:refs/heads/main"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "ci" {
  count = length(aws_iam_role.ci)

  name = "read-and-check"
  role = aws_iam_role.ci[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.see_bucket,
      local.list_input_and_storage,
      {
        # Checks list the photos to count them. They read the derived data, and every page of the tables,
        # because files_are_whole verifies checksums.
        Sid    = "ReadAssets"
        Effect = "Allow"
        Action = "s3:GetObject"
        Resource = concat(
          ["${local.data}/${local.input}", "${local.data}/${local.storage}"],
          [for folder in local.asset_folders : "${local.data}/${folder}/*"],
        )
      },
      {
        Sid      = "UseTheKeyToRead"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.data.arn
      },
    ]
  })
}
