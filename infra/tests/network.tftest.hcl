# The network only connects to AWS.

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

  # There is no route to or from the internet.

  assert {
    condition     = alltrue([for subnet in aws_subnet.private : !subnet.map_public_ip_on_launch])
    error_message = "A subnet assigns public addresses."
  }

  assert {
    condition     = length(aws_route_table.private.route) == 0
    error_message = "The private subnets have another route, e.g. to the internet."
  }

  assert {
    condition     = alltrue([for association in aws_route_table_association.private : association.route_table_id == aws_route_table.private.id])
    error_message = "A subnet uses another route table, e.g. the main one."
  }

  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "The default security group has rules."
  }

  assert {
    condition = alltrue([
      for rule in concat(
        values(aws_vpc_security_group_ingress_rule.nodes), values(aws_vpc_security_group_ingress_rule.from_service),
        values(aws_vpc_security_group_ingress_rule.endpoints), [aws_vpc_security_group_ingress_rule.service],
      ) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.referenced_security_group_id != null
    ])
    error_message = "An inbound rule allows addresses instead of one of the module's groups."
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.operators) == 0 && length(aws_security_group.operators) == 0
    error_message = "By default an operator can connect to the cluster from outside."
  }

  assert {
    condition = alltrue([
      for rule in concat(
        values(aws_vpc_security_group_egress_rule.nodes), values(aws_vpc_security_group_egress_rule.to_endpoints),
        values(aws_vpc_security_group_egress_rule.service), [aws_vpc_security_group_egress_rule.primary_to_service],
        values(aws_vpc_security_group_egress_rule.to_s3),
      ) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null
    ])
    error_message = "An outbound rule allows addresses."
  }

  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && startswith(aws_flow_log.this.log_destination, aws_s3_bucket.this["trail"].arn)
    error_message = "Flow logs do not record all traffic."
  }

  # AWS is reached without the internet.

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && contains(aws_vpc_endpoint.s3.route_table_ids, aws_route_table.private.id)
    error_message = "S3 has no gateway in the private route table."
  }

  assert {
    condition     = length(setsubtract(["elasticmapreduce", "kms", "ssm", "ssmmessages"], keys(aws_vpc_endpoint.interface))) == 0
    error_message = "An endpoint that the cluster needs is missing."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.private_dns_enabled])
    error_message = "An endpoint has no private DNS name, so its name resolves to a public address."
  }

  assert {
    condition     = aws_vpc.this.enable_dns_support && aws_vpc.this.enable_dns_hostnames
    error_message = "DNS is disabled, so the endpoints' names do not resolve."
  }

  # Data cannot be moved out through an endpoint.

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement :
      statement.Sid == "OwnBuckets" ? statement.Condition.StringEquals["aws:PrincipalAccount"] == "123456789012" : (
        statement.Sid == "ReadPackages" ? toset(statement.Action) == toset(["s3:GetObject", "s3:ListBucket"]) : statement.Action == "s3:PutObject" && statement.Resource == "arn:aws:s3:::aws157-logs-prod-eu-west-1/*"
      )
    ])
    error_message = "The S3 endpoint allows writing to other buckets."
  }

  assert {
    condition     = alltrue([for arn in one([for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s if try(s.Sid, "") == "OwnBuckets"]).Resource : startswith(arn, "arn:aws:s3:::fruits-features-123456789012-eu-west-1-")])
    error_message = "The S3 endpoint allows access to buckets outside the module."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : jsondecode(endpoint.policy).Statement[0].Condition.StringEquals["aws:PrincipalAccount"] == "123456789012"])
    error_message = "An endpoint accepts identities of other accounts."
  }
}
