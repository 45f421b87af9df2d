# Effects of the variables.


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

run "spot_nodes_are_added_only_on_request" {
  command = plan

  variables {
    spot_bid_usd = 0.2
  }

  assert {
    condition     = aws_emr_instance_group.spot[0].bid_price == "0.2"
    error_message = "The spot group has another bid price."
  }

  assert {
    condition     = one(aws_emr_managed_scaling_policy.this[0].compute_limits).maximum_ondemand_capacity_units == 2 && one(aws_emr_managed_scaling_policy.this[0].compute_limits).maximum_core_capacity_units == 2
    error_message = "Scaling adds on-demand nodes although spot nodes were requested."
  }
}

run "nothing_billed_by_the_hour_remains_when_paused" {
  command = plan

  variables {
    paused = true
  }

  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0
    error_message = "Endpoints keep costing money."
  }

  assert {
    condition     = length(aws_emr_cluster.this) == 0 && length(aws_emr_managed_scaling_policy.this) == 0
    error_message = "The cluster keeps costing money."
  }

  assert {
    condition     = length(aws_s3_bucket.this) == 4
    error_message = "Pausing deletes buckets."
  }
}

run "a_role_without_principals_is_not_created" {
  command = plan

  variables {
    dagster_principals = []
    erasure_principals = []
    github_repository  = null
  }

  assert {
    condition     = length(aws_iam_role.dagster) + length(aws_iam_role.erasure) + length(aws_iam_role.ci) + length(aws_iam_openid_connect_provider.github) == 0
    error_message = "A role exists although it was not requested."
  }
}

run "data_loss_has_to_be_allowed" {
  command = plan

  variables {
    allow_data_loss = true
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : bucket.force_destroy])
    error_message = "allow_data_loss does not allow data loss."
  }
}

run "operators_connect_only_from_their_ranges_and_after_the_password_was_replaced" {
  command = plan

  variables {
    operator_cidrs = ["192.0.2.0/24", "198.51.100.7/32"]
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.operators : rule.cidr_ipv4]) == toset(["192.0.2.0/24", "198.51.100.7/32"])
    error_message = "Addresses outside the configured ranges can connect."
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.operators : rule.from_port == 9443 && rule.to_port == 9443 && rule.ip_protocol == "tcp" && rule.security_group_id == aws_security_group.operators[0].id])
    error_message = "Operators can connect to more than JupyterHub."
  }

  assert {
    condition     = try(aws_emr_cluster.this[0].bootstrap_action[2].path == "s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub.sh", false)
    error_message = "JupyterHub is reachable before its password is replaced."
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].additional_master_security_groups == aws_security_group.operators[0].id
    error_message = "The rules apply to no node."
  }
}

run "an_ssh_key_opens_no_port" {
  command = plan

  variables {
    ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8n someone@laptop"
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].key_name == aws_key_pair.this[0].key_name
    error_message = "The key is not used."
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.operators) == 0
    error_message = "A key opens a port."
  }
}
