# The cluster's two roles: the EMR service role, which starts instances, and the instance role.

locals {
  service_role = "${var.name}-emr-service"
  node_role    = "${var.name}-emr-node"
  data         = local.bucket_arns["data"]

  # Readers also request the key of a folder itself: pyarrow before it lists, S3A for each path. Without
  # permission for that key, S3 returns "access denied" instead of "not found".
  readable = [for folder in [local.input, local.storage] : ["${local.data}/${folder}", "${local.data}/${folder}/*"]]

  # Delta tables: put files and commits; delete files that a vacuum or a compaction removes.
  written_by_runs = [for folder in concat(local.asset_folders, [local.staging]) : "${local.data}/${folder}/*"]
}

# Optional: all programs on the cluster share one role, so anyone who runs code there can read and
# change all notebooks.
locals {
  keep_notebooks = [for statement in [
    {
      Sid      = "KeepNotebooks"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
      Resource = "${local.data}/jupyter/*"
    },
    {
      Sid       = "ListNotebooks"
      Effect    = "Allow"
      Action    = "s3:ListBucket"
      Resource  = local.data
      Condition = { StringLike = { "s3:prefix" = ["jupyter", "jupyter/*"] } }
    },
  ] : statement if var.keep_notebooks]
}

resource "aws_iam_role" "service" {
  name = local.service_role
  tags = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "elasticmapreduce.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:elasticmapreduce:${var.region}:${local.account}:*" }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "service" {
  role       = aws_iam_role.service.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2"
}

resource "aws_iam_role_policy" "service" {
  name = "passes-one-role-encrypts-disks"
  role = aws_iam_role.service.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "PassTheNodesRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = "${local.role_arn_start}${local.node_role}"
        Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
      },
      {
        Sid      = "EncryptDisks"
        Effect   = "Allow"
        Action   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource = aws_kms_key.data.arn
      },
      {
        Sid       = "LetEc2UseTheKeyForDisks"
        Effect    = "Allow"
        Action    = "kms:CreateGrant"
        Resource  = aws_kms_key.data.arn
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}

resource "aws_iam_role" "node" {
  name = local.node_role
  tags = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_instance_profile" "node" {
  name = local.node_role
  role = aws_iam_role.node.name
  tags = local.tags
}

# Permissions of programs on a node: steps, and code in notebooks. They may delete objects but not
# versions, so that mistakes can be undone. They may not change photos or the files that nodes start from.
resource "aws_iam_role_policy" "node" {
  name = "what-runs-need"
  role = aws_iam_role.node.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "SeeThatTheBucketIsSafe"
        Effect   = "Allow"
        Action   = ["s3:GetBucketLocation", "s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration"]
        Resource = local.data
      },
      merge(local.list_input_and_storage, { Sid = "ListFolders" }),
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = flatten([local.readable, ["${local.data}/cluster/*"]])
      },
      {
        Sid      = "WriteAssets"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = local.written_by_runs
      },
      {
        # Dagster's host uploads the code of steps; the cluster cannot change it.
        Sid      = "LeaveTheCodeAlone"
        Effect   = "Deny"
        Action   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = "${local.data}/${local.staging}/code/*"
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${local.bucket_arns["logs"]}/emr/*"
      },
      {
        Sid      = "WriteLogsThatEmrItselfWants"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "arn:${local.partition}:s3:::aws157-logs-prod-${var.region}/*"
      },
      {
        Sid      = "UseTheKey"
        Effect   = "Allow"
        Action   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource = aws_kms_key.data.arn
      },
      {
        # Needed by Session Manager; these actions have no resource types.
        Sid    = "SessionManager"
        Effect = "Allow"
        Action = [
          "ssm:UpdateInstanceInformation",
          "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
          "ec2messages:GetMessages", "ec2messages:AcknowledgeMessage", "ec2messages:SendReply",
        ]
        Resource = "*"
      },
    ], local.keep_notebooks)
  })
}
