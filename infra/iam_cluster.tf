# The cluster's two roles: EMR's service, which starts machines, and the machines themselves.

locals {
  service_role = "${var.name}-emr-service"
  node_role    = "${var.name}-emr-node"
  data         = local.bucket_arns["data"]

  # Hadoop puts an empty object `folder_$folder$` beside each folder that it makes.
  written_by_runs = flatten([
    for folder in concat(local.asset_folders, [local.staging]) :
    ["${local.data}/${folder}/*", "${local.data}/${folder}_$folder$"]
  ])
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

# What a program on a node may do. It deletes objects but no version: mistakes can be undone.
# It changes neither photos nor what nodes are started from.
resource "aws_iam_role_policy" "node" {
  name = "what-runs-need"
  role = aws_iam_role.node.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "SeeThatTheBucketIsSafe"
        Effect   = "Allow"
        Action   = ["s3:GetBucketLocation", "s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration"]
        Resource = local.data
      },
      {
        Sid      = "ListFolders"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = local.data
        # `IfExists`: a get of what is not there names no prefix, and without the right to list it
        # would be "access denied" instead of "not found".
        Condition = {
          StringLikeIfExists = {
            "s3:prefix" = flatten([for folder in [local.input, local.storage, "cluster", "jupyter"] : [folder, "${folder}/*"]])
          }
        }
      },
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [for folder in [local.input, local.storage, "cluster", "jupyter"] : "${local.data}/${folder}/*"]
      },
      {
        Sid    = "WriteAssets"
        Effect = "Allow"
        Action = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        # The first: Hadoop's mark for the storage's own folder.
        Resource = concat(["${local.data}/${local.storage}_$folder$"], local.written_by_runs)
      },
      {
        Sid      = "KeepNotebooks"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:DeleteObject"]
        Resource = "${local.data}/jupyter/*"
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
        Sid      = "ReadJupyterHubsPassword"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = local.secret_arn
      },
      {
        # What Session Manager needs; AWS names no resources for these.
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
    ]
  })
}
