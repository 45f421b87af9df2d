variable "name" {
  description = "Name of the cluster (FRUITS_CLUSTER) and prefix of all other names."
  type        = string
  default     = "fruits-features"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,24}$", var.name))
    error_message = "name: 3 to 25 lowercase letters, digits and hyphens, beginning with a letter, because it is part of bucket names."
  }
}

variable "region" {
  description = "AWS region in the EU, one of those in spark_src/contract.json."
  type        = string
  default     = "eu-west-1"
  nullable    = false

  validation {
    condition     = contains(local.contract.eu_regions, var.region)
    error_message = "region: ${var.region} is not a region in the EU that this project allows (London is outside the EU; Paris is eu-west-3). Use one of ${join(", ", local.contract.eu_regions)}."
  }
}

variable "release" {
  description = "EMR release, one of those in spark_src/contract.json."
  type        = string
  default     = "emr-7.13.0"
  nullable    = false

  validation {
    condition = contains(keys(local.contract.releases), var.release)
    error_message = format(
      "release: %s cannot run this project: %s. Use %s.", var.release,
      coalesce(concat([
        for start, why in local.contract.refused_releases : why if startswith(var.release, start)
      ], ["it has not been tried with the project"])...),
      join(" or ", keys(local.contract.releases)),
    )
  }
}

variable "environment_archive" {
  description = "File name of the packed Python environment, as `fruits cluster-env build` prints it. `make up` sets it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^env-[0-9a-f]{64}\\.tar\\.gz$", var.environment_archive))
    error_message = "environment_archive: must be env-<sha256>.tar.gz, the name that `uv run fruits cluster-env build` prints."
  }
}

variable "paused" {
  description = "Remove the cluster and the endpoints, which are billed by the hour, and keep the data and everything that costs nothing."
  type        = bool
  default     = false
  nullable    = false
}

variable "vpc_cidr" {
  description = "Address range of the VPC: a private /16 to /26."
  type        = string
  default     = "10.60.0.0/22"
  nullable    = false

  validation {
    condition = (
      can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.vpc_cidr))
      && can(cidrsubnet(var.vpc_cidr, 1, 1))
      && try(tonumber(split("/", var.vpc_cidr)[1]), 0) >= 16
      && try(tonumber(split("/", var.vpc_cidr)[1]), 99) <= 26
    )
    error_message = "vpc_cidr: must be a private range (10/8, 172.16/12 or 192.168/16) of /16 to /26."
  }
}

variable "zone" {
  description = "Subnet of the cluster and the endpoints: 0 or 1. Switch to the other one if an availability zone has no capacity."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = contains([0, 1], var.zone)
    error_message = "zone: must be 0 or 1."
  }
}

variable "instance_type" {
  description = "Instance type of all nodes; x86_64, like the packed environment."
  type        = string
  default     = "m5.xlarge"
  nullable    = false

  validation {
    condition = (
      can(regex("^[a-z]+[0-9]+[a-z]*\\.[0-9]*xlarge$", var.instance_type))
      && !can(regex("^[a-z]+[0-9]+[a-z]*g[a-z]*\\.", var.instance_type))
    )
    error_message = "instance_type: ${var.instance_type} cannot run this project: use an …xlarge type of an x86_64 family, e.g. m5.xlarge (types such as m6g are Arm, and the libraries are packed for x86_64)."
  }
}

variable "core_count" {
  description = "Core nodes at the start, and the minimum that managed scaling keeps."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.core_count >= 1 && var.core_count <= 20 && floor(var.core_count) == var.core_count
    error_message = "core_count: must be a whole number from 1 to 20."
  }
}

variable "max_nodes" {
  description = "Maximum number of core and task nodes for managed scaling."
  type        = number
  default     = 6
  nullable    = false

  validation {
    condition     = var.max_nodes >= var.core_count && var.max_nodes <= 40
    error_message = "max_nodes: must be from core_count to 40, so that a mistake does not cost a month's budget in an hour."
  }
}

variable "spot_bid_usd" {
  description = "Maximum price per hour of a spot task node; null: no spot nodes. If a spot node is lost, its tasks are retried."
  type        = number
  default     = null

  validation {
    condition     = var.spot_bid_usd == null ? true : var.spot_bid_usd > 0 && var.spot_bid_usd <= 2
    error_message = "spot_bid_usd: must be more than 0 and at most 2 USD per hour, or null for no spot nodes."
  }
}

variable "idle_minutes" {
  description = "Idle time after which the cluster terminates itself; it cannot be turned off."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.idle_minutes >= 5 && var.idle_minutes <= 240
    error_message = "idle_minutes: must be 5 to 240. A cluster that never terminates costs 570 USD a month."
  }
}

variable "step_concurrency" {
  description = "Number of concurrent steps (each step runs one asset)."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.step_concurrency >= 1 && var.step_concurrency <= 4
    error_message = "step_concurrency: must be 1 to 4. The driver of each step needs memory on the primary node."
  }
}

variable "keep_notebooks" {
  description = "Let JupyterHub store notebooks in the bucket. Anyone who runs code on the cluster can then read and change all notebooks, because all code uses the nodes' role. false: notebooks are deleted with the cluster."
  type        = bool
  default     = false
  nullable    = false
}

variable "operator_cidrs" {
  description = "IPv4 ranges, /24 or narrower, that can connect to JupyterHub (9443) without a port forward, e.g. over a VPN. Empty: none."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([
      for range in var.operator_cidrs :
      can(cidrnetmask(range)) && try(tonumber(split("/", range)[1]), 0) >= 24
    ])
    error_message = "operator_cidrs: each must be an IPv4 range of /24 or narrower, never 0.0.0.0/0. Without a range, use the port forward: see the output jupyterhub."
  }
}

variable "ssh_public_key" {
  description = "Public key for SSH through Session Manager; null: none. `infra/commands/ssh-key` creates one; never put the private key here."
  type        = string
  default     = null

  validation {
    condition     = var.ssh_public_key == null ? true : can(regex("^(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]+( [^\\n]*)?\\n?$", var.ssh_public_key))
    error_message = "ssh_public_key: must be one line of a .pub file (ssh-rsa … or ssh-ed25519 …). Never give the private key: it would be in Terraform's state."
  }
}

variable "allow_data_loss" {
  description = "Let `terraform destroy` delete buckets with their contents, and secrets immediately."
  type        = bool
  default     = false
  nullable    = false
}

variable "staging_days" {
  description = "Days until files exchanged between Dagster and the cluster are deleted. They can contain paths of photos."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.staging_days >= 1 && var.staging_days <= 30
    error_message = "staging_days: must be 1 to 30."
  }
}

variable "old_version_days" {
  description = "Days for which overwritten and deleted objects can be restored before they expire."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.old_version_days >= 1 && var.old_version_days <= 30
    error_message = "old_version_days: must be 1 to 30. A deleted photo has to be gone within a month (GDPR article 12(3))."
  }
}

variable "log_days" {
  description = "Days for which the cluster's logs and S3's access logs are kept."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.log_days >= 7 && var.log_days <= 365
    error_message = "log_days: must be 7 to 365."
  }
}

variable "trail_days" {
  description = "Days for which the audit trail is kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.trail_days >= 90 && var.trail_days <= 1100
    error_message = "trail_days: must be 90 to 1100."
  }
}

variable "trail_lock_days" {
  description = "Days of S3 Object Lock on the audit trail: nobody, not even the account's root, can delete or overwrite its files in that time. null: no lock. It cannot be undone, and `make down` fails until the days are over."
  type        = number
  default     = null

  validation {
    condition     = var.trail_lock_days == null ? true : var.trail_lock_days >= 1 && var.trail_lock_days <= var.trail_days
    error_message = "trail_lock_days: must be 1 to trail_days, or null for no lock."
  }
}

variable "monthly_budget_usd" {
  description = "Monthly budget of the whole account. Sends email at 80 % and when the forecast exceeds it."
  type        = number
  default     = 150
  nullable    = false

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "monthly_budget_usd: must be more than 0."
  }
}

variable "budget_emails" {
  description = "Email addresses for budget notifications, at least one."
  type        = list(string)
  nullable    = false

  validation {
    condition = length(var.budget_emails) > 0 && alltrue([
      for address in var.budget_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))
    ])
    error_message = "budget_emails: must contain at least one email address, e.g. [\"data-team@example.org\"]."
  }
}

variable "input_notifications" {
  description = "Let S3 notify a queue of added and deleted photos; Dagster then lists the input only after a notification. false: no queue."
  type        = bool
  default     = true
  nullable    = false
}

variable "dagster_principals" {
  description = "ARNs of the IAM users or roles that may assume the role of Dagster's host. Empty: the role is not created."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([
      for arn in var.dagster_principals : can(regex("^arn:aws:iam::[0-9]{12}:(user|role)/[^*]+$", arn))
    ])
    error_message = "dagster_principals: each must be arn:aws:iam::<account>:user/… or role/…, without * and not a whole account."
  }
}

variable "erasure_principals" {
  description = "ARNs of the IAM users or roles that may assume the erasure role, which deletes all versions of a person's photos. Empty: the role is not created."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([
      for arn in var.erasure_principals : can(regex("^arn:aws:iam::[0-9]{12}:(user|role)/[^*]+$", arn))
    ])
    error_message = "erasure_principals: each must be arn:aws:iam::<account>:user/… or role/…, without * and not a whole account."
  }
}

variable "github_repository" {
  description = "owner/name of the GitHub repository whose main branch may read the data and run checks; null: none."
  type        = string
  default     = null

  validation {
    condition     = var.github_repository == null ? true : can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "github_repository: must be owner/name, without wildcards."
  }
}

variable "github_oidc_provider" {
  description = "ARN of the account's existing OIDC provider for GitHub; null: it is created."
  type        = string
  default     = null
}
