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
    condition = (
      aws_emr_cluster.this[0].bootstrap_action[2].path == "s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub.sh"
      && aws_emr_cluster.this[0].bootstrap_action[2].args == tolist(["install", "s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub-password.hash"])
    )
    error_message = "The default password stays, and the port is open with it."
  }

  assert {
    condition     = length(aws_emr_cluster.this[0].step) == 0
    error_message = "A step needs a jar of a bucket that nodes may not read, or is refused at step concurrency over 1."
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.operators) == 0
    error_message = "There is a door that nobody asked for."
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].key_name == null && length(aws_key_pair.this) == 0
    error_message = "There is an SSH key that nobody asked for."
  }
}
