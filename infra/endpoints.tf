# VPC endpoints for a network without internet access: a gateway for S3, interfaces for the rest.

locals {
  # Services that nodes call. Each endpoint is billed by the hour: see the README before adding one.
  interface_services = [
    "elasticmapreduce",                  # managed scaling
    "kms",                               # keys of the nodes' disks
    "ssm", "ssmmessages", "ec2messages", # Session Manager, the only access to nodes
    "sts",                               # credentials of notebook users
    "logs",                              # session logs of Session Manager, if the account records them
  ]

  # Buckets of EMR and Amazon Linux, read-only.
  package_buckets = [
    "${var.region}.elasticmapreduce",
    "repo.${var.region}.emr.amazonaws.com",
    "al2023-repos-${var.region}-de612dc2",
  ]
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
  tags              = merge(local.tags, { Name = "${var.name}-s3" })

  # No program on the nodes can copy data to another account's bucket.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OwnBuckets"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:*"
        Resource  = flatten([for use in ["data", "logs"] : [local.bucket_arns[use], "${local.bucket_arns[use]}/*"]])
        Condition = { StringEquals = { "aws:PrincipalAccount" = local.account } }
      },
      {
        Sid       = "ReadPackages"
        Effect    = "Allow"
        Principal = "*"
        Action    = ["s3:GetObject", "s3:ListBucket"]
        Resource  = flatten([for bucket in local.package_buckets : ["arn:${local.partition}:s3:::${bucket}", "arn:${local.partition}:s3:::${bucket}/*"]])
      },
      {
        Sid       = "LogsThatEmrItselfWants"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "arn:${local.partition}:s3:::aws157-logs-prod-${var.region}/*"
      },
    ]
  })
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "AWS services as seen from the cluster"
  vpc_id      = aws_vpc.this.id
  tags        = merge(local.tags, { Name = "${var.name}-endpoints" })
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each = local.node_groups

  description                  = "HTTPS from the ${each.key} nodes"
  security_group_id            = aws_security_group.endpoints.id
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  tags                         = local.tags
}

resource "aws_vpc_endpoint" "interface" {
  for_each = var.paused ? [] : toset(local.interface_services)

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [aws_subnet.private[var.zone].id]
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = merge(local.tags, { Name = "${var.name}-${each.key}" })

  # Only identities of this account, so that foreign credentials cannot be used to move data out.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = "*"
      Resource  = "*"
      Condition = { StringEquals = { "aws:PrincipalAccount" = local.account } }
    }]
  })
}
