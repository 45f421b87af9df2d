# Invalid values are refused before anything is created. All values of a run are invalid, and each
# has to fail: a value that is accepted fails the run.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment_archive = "env-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.tar.gz"
  budget_emails       = ["data-team@example.org"]
}


run "bad_values_1" {
  command = plan

  variables {
    region              = "eu-west-2"                            # London
    release             = "emr-6.15.0"                           # Spark 3.4
    operator_cidrs      = ["0.0.0.0/0"]                          # the internet
    ssh_public_key      = "-----BEGIN OPENSSH PRIVATE KEY-----"  # a private key
    idle_minutes        = 0                                      # never ends
    budget_emails       = []                                     # no address
    instance_type       = "m6g.xlarge"                           # Arm
    vpc_cidr            = "8.8.8.0/24"                           # not private
    name                = "fruits-features-of-the-whole-company" # too long
    environment_archive = "latest.tar.gz"                        # not named by its digest
    dagster_principals  = ["*"]                                  # anyone
    erasure_principals  = ["arn:aws:iam::123456789012:role/*"]   # any role
    github_repository   = "fruits/*"                             # any repository
    old_version_days    = 31                                     # more than a month
    staging_days        = 31                                     # more than a month
    log_days            = 10000                                  # too long
    trail_days          = 7                                      # a week
    zone                = 2                                      # there are two
    max_nodes           = 400                                    # too expensive
    step_concurrency    = 10                                     # too many
    spot_bid_usd        = 0                                      # no bid
    monthly_budget_usd  = 0                                      # no budget
  }

  expect_failures = [
    var.region,
    var.release,
    var.operator_cidrs,
    var.ssh_public_key,
    var.idle_minutes,
    var.budget_emails,
    var.instance_type,
    var.vpc_cidr,
    var.name,
    var.environment_archive,
    var.dagster_principals,
    var.erasure_principals,
    var.github_repository,
    var.old_version_days,
    var.staging_days,
    var.log_days,
    var.trail_days,
    var.zone,
    var.max_nodes,
    var.step_concurrency,
    var.spot_bid_usd,
    var.monthly_budget_usd,
  ]
}

run "bad_values_2" {
  command = plan

  variables {
    region             = "us-east-1"                        # outside the EU
    release            = "emr-7.7.0"                        # Spark 3.5.3
    operator_cidrs     = ["0.0.0.0/1"]                      # half the internet
    idle_minutes       = 1440                               # a day
    budget_emails      = ["data team"]                      # no address
    instance_type      = "t3.medium"                        # not available on EMR
    vpc_cidr           = "10.0.0.0/8"                       # too many addresses
    dagster_principals = ["arn:aws:iam::123456789012:root"] # a whole account
    max_nodes          = 1                                  # fewer than core count
  }

  expect_failures = [
    var.region,
    var.release,
    var.operator_cidrs,
    var.idle_minutes,
    var.budget_emails,
    var.instance_type,
    var.vpc_cidr,
    var.dagster_principals,
    var.max_nodes,
  ]
}

run "bad_values_3" {
  command = plan

  variables {
    release        = "emr-7.99.0"                      # not tested
    operator_cidrs = ["192.0.2.0/24", "198.51.0.0/23"] # 512 addresses
    core_count     = 0                                 # no core node
  }

  expect_failures = [
    var.release,
    var.operator_cidrs,
    var.core_count,
  ]
}

run "bad_values_4" {
  command = plan

  variables {
    operator_cidrs = ["::/0"] # the internet in IPv6
  }

  expect_failures = [
    var.operator_cidrs,
  ]
}

run "bad_values_5" {
  command = plan

  variables {
    operator_cidrs = ["192.0.2.1"] # no prefix length
  }

  expect_failures = [
    var.operator_cidrs,
  ]
}
