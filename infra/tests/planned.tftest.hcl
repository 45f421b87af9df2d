# No assertions: tests/infra/planned.py compares the complete plan with tests/infra/planned/.

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

override_resource {
  override_during = plan
  target          = aws_iam_role.service
  values          = { arn = "arn:aws:iam::123456789012:role/fruits-features-emr-service", id = "fruits-features-emr-service" }
}

override_resource {
  override_during = plan
  target          = aws_iam_role.node
  values          = { arn = "arn:aws:iam::123456789012:role/fruits-features-emr-node", id = "fruits-features-emr-node" }
}

override_resource {
  override_during = plan
  target          = aws_iam_role.trail
  values          = { arn = "arn:aws:iam::123456789012:role/fruits-features-trail", id = "fruits-features-trail" }
}

override_resource {
  override_during = plan
  target          = aws_iam_role.dagster
  values          = { arn = "arn:aws:iam::123456789012:role/fruits-features-dagster", id = "fruits-features-dagster" }
}

override_resource {
  override_during = plan
  target          = aws_iam_role.erasure
  values          = { arn = "arn:aws:iam::123456789012:role/fruits-features-erasure", id = "fruits-features-erasure" }
}

override_resource {
  override_during = plan
  target          = aws_iam_role.ci
  values          = { arn = "arn:aws:iam::123456789012:role/fruits-features-ci", id = "fruits-features-ci" }
}

override_resource {
  override_during = plan
  target          = aws_iam_instance_profile.node
  values          = { arn = "arn:aws:iam::123456789012:instance-profile/fruits-features-emr-node" }
}

variables {
  environment_archive = "env-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.tar.gz"
  budget_emails       = ["data-team@example.org"]
  dagster_principals  = ["arn:aws:iam::123456789012:role/dagster-host"]
  erasure_principals  = ["arn:aws:iam::123456789012:role/privacy-team"]
  github_repository   = "fruits/features"
}

run "roles" {
  command = plan
}

run "options" {
  command = plan

  variables {
    github_oidc_provider = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    keep_notebooks       = true
    operator_cidrs       = ["10.1.2.0/24"]
    spot_bid_usd         = 0.1
    ssh_public_key       = "ssh-ed25519 AAAAC3Nz key"
    trail_lock_days      = 90
  }
}

run "paused_for_the_end" {
  command = plan

  variables {
    paused              = true
    allow_data_loss     = true
    input_notifications = false
  }
}
