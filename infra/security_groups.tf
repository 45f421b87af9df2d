# Allowed connections. EMR adds its own rules to the three groups it manages, none of them public.

locals {
  node_groups = {
    primary = aws_security_group.primary.id
    core    = aws_security_group.core.id
  }

  # Connections between nodes of both kinds.
  node_pairs = {
    for pair in setproduct(["primary", "core"], ["primary", "core"]) : "${pair[0]}-${pair[1]}" => pair
  }
}

resource "aws_security_group" "primary" {
  name                   = "${var.name}-primary"
  description            = "EMR's primary node"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true # this group and the next reference each other
  tags                   = merge(local.tags, { Name = "${var.name}-primary" })
}

resource "aws_security_group" "core" {
  name                   = "${var.name}-core"
  description            = "EMR's core and task nodes"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true
  tags                   = merge(local.tags, { Name = "${var.name}-core" })
}

resource "aws_security_group" "service" {
  name                   = "${var.name}-service"
  description            = "EMR's service, which steers the nodes"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true
  tags                   = merge(local.tags, { Name = "${var.name}-service" })
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  for_each = local.node_pairs

  description                  = "From ${each.value[0]} to ${each.value[1]} nodes"
  security_group_id            = local.node_groups[each.value[1]]
  referenced_security_group_id = local.node_groups[each.value[0]]
  ip_protocol                  = "-1"
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "nodes" {
  for_each = local.node_pairs

  description                  = "From ${each.value[0]} to ${each.value[1]} nodes"
  security_group_id            = local.node_groups[each.value[0]]
  referenced_security_group_id = local.node_groups[each.value[1]]
  ip_protocol                  = "-1"
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "to_endpoints" {
  for_each = local.node_groups

  description                  = "AWS services"
  security_group_id            = each.value
  referenced_security_group_id = aws_security_group.endpoints.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "to_s3" {
  for_each = local.node_groups

  description       = "S3, through the gateway"
  security_group_id = each.value
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "service" {
  description                  = "The primary node reports to EMR"
  security_group_id            = aws_security_group.service.id
  referenced_security_group_id = aws_security_group.primary.id
  ip_protocol                  = "tcp"
  from_port                    = 9443
  to_port                      = 9443
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "primary_to_service" {
  description                  = "The primary node reports to EMR"
  security_group_id            = aws_security_group.primary.id
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = 9443
  to_port                      = 9443
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "service" {
  for_each = local.node_groups

  description                  = "EMR steers the ${each.key} nodes"
  security_group_id            = aws_security_group.service.id
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 8443
  to_port                      = 8443
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "from_service" {
  for_each = local.node_groups

  description                  = "EMR steers the ${each.key} nodes"
  security_group_id            = each.value
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = 8443
  to_port                      = 8443
  tags                         = local.tags
}
