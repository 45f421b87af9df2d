# The cluster's network: private subnets without internet access. Access to it: jupyterhub.tf.

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(local.tags, { Name = var.name })
}

# Resources that are added to the default group by mistake can connect to nothing.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "private" {
  count = 2

  vpc_id                  = aws_vpc.this.id
  cidr_block              = cidrsubnet(var.vpc_cidr, 1, count.index)
  availability_zone       = "${var.region}${["a", "b"][count.index]}"
  map_public_ip_on_launch = false
  tags                    = merge(local.tags, { Name = "${var.name}-private-${count.index}" })
}

# Only the local route and the one to S3: no internet gateway, no NAT.
resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = "${var.name}-private" })
}

resource "aws_route_table_association" "private" {
  count = 2

  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

resource "aws_flow_log" "this" {
  vpc_id               = aws_vpc.this.id
  traffic_type         = "ALL"
  log_destination_type = "s3"
  log_destination      = "${aws_s3_bucket.this["trail"].arn}/flow-logs/"
  tags                 = local.tags

  depends_on = [aws_s3_bucket_policy.this]
}
