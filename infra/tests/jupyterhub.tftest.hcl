# JupyterHub: the password is replaced before access is opened, and access is restricted.

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

  # The well known password is replaced in a step.

  assert {
    condition = (
      aws_emr_cluster.this[0].bootstrap_action[2].path == "s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub.sh"
      && aws_emr_cluster.this[0].bootstrap_action[2].args == tolist(["install", "eu-west-1", "s3://fruits-features-123456789012-eu-west-1-data/cluster/jupyterhub-password.hash"])
    )
    error_message = "The port is open with the default password."
  }

  assert {
    condition     = length(aws_emr_cluster.this[0].step) == 0
    error_message = "A step needs a jar in a bucket that nodes cannot read, or is refused with a step concurrency above 1."
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.operators) == 0
    error_message = "Access is open although it was not requested."
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].key_name == null && length(aws_key_pair.this) == 0
    error_message = "There is an SSH key although none was requested."
  }
}
