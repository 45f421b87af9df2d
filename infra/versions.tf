# Versions of Terraform and the provider, and the tags of all resources.

terraform {
  # 1.9: validations may refer to other values (the contract). 1.11: mocked values are known in a plan.
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
