# What the variables turn on, off or larger.


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

run "spot_nodes_come_on_top_and_only_when_asked_for" {
  command = plan

  variables {
    spot_bid_usd = 0.2
  }

  assert {
    condition     = aws_emr_instance_group.spot[0].bid_price == "0.2"
    error_message = "The spot group has another price."
  }

  assert {
    condition     = one(aws_emr_managed_scaling_policy.this[0].compute_limits).maximum_ondemand_capacity_units == 2 && one(aws_emr_managed_scaling_policy.this[0].compute_limits).maximum_core_capacity_units == 2
    error_message = "Scaling adds nodes at the full price though spot was asked for."
  }
}

run "paused_leaves_nothing_that_is_billed_by_the_hour" {
  command = plan

  variables {
    paused = true
  }

  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0
    error_message = "Endpoints go on costing money."
  }

  assert {
    condition     = length(aws_emr_cluster.this) == 0 && length(aws_emr_managed_scaling_policy.this) == 0
    error_message = "The cluster goes on costing money."
  }

  assert {
    condition     = length(aws_s3_bucket.this) == 4
    error_message = "A pause deletes buckets."
  }
}

run "a_role_that_nobody_is_to_have_is_not_made" {
  command = plan

  variables {
    dagster_principals = []
    erasure_principals = []
    github_repository  = null
  }

  assert {
    condition     = length(aws_iam_role.dagster) + length(aws_iam_role.erasure) + length(aws_iam_role.ci) + length(aws_iam_openid_connect_provider.github) == 0
    error_message = "A role is there that nobody asked for."
  }
}

run "data_is_lost_only_where_that_is_allowed" {
  command = plan

  variables {
    allow_data_loss = true
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : bucket.force_destroy])
    error_message = "allow_data_loss does not allow it."
  }
}

run "operators_come_in_by_their_ranges_alone_and_after_the_password" {
  command = plan

  variables {
    operator_cidrs = ["192.0.2.0/24", "198.51.100.7/32"]
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.operators : rule.cidr_ipv4]) == toset(["192.0.2.0/24", "198.51.100.7/32"])
    error_message = "Others than the named ranges come in."
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.operators : rule.from_port == 9443 && rule.to_port == 9443 && rule.ip_protocol == "tcp" && rule.security_group_id == aws_security_group.operators[0].id])
    error_message = "Operators reach more than JupyterHub."
  }

  assert {
    condition     = try(aws_emr_cluster.this[0].bootstrap_action[2].path == "s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub.sh", false)
    error_message = "JupyterHub can be reached before its password is replaced."
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].additional_master_security_groups == aws_security_group.operators[0].id
    error_message = "The rules are on no node."
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
