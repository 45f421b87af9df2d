# JupyterHub: its password first, then a door, and that a narrow one.

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

run "as_it_comes" {
  command = plan

  # The well known password is replaced in a step.

  assert {
    condition = try(
      aws_emr_cluster.this[0].step[0].action_on_failure == "TERMINATE_CLUSTER"
      && startswith(aws_emr_cluster.this[0].step[0].name, "setup: ")
      && aws_emr_cluster.this[0].step[0].hadoop_jar_step[0].args == tolist(["s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub-password.sh", "eu-west-1", "fruits-features/jupyterhub"]),
      false,
    )
    error_message = "The default password stays, or a cluster that kept it lives on."
  }

  assert {
    condition     = length(aws_emr_cluster.this[0].bootstrap_action) == 2 && length(aws_vpc_security_group_ingress_rule.operators) == 0
    error_message = "There is a door that nobody asked for."
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].key_name == null && length(aws_key_pair.this) == 0
    error_message = "There is an SSH key that nobody asked for."
  }
}
