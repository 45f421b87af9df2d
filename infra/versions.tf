# Terraform's version, the provider's, and the tags that all resources have.

terraform {
  # 1.9: a variable's validation may read the contract. 1.11: tests know mocked values in a plan.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}
