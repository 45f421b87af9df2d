# What this module and the Python code agree on. Values are in spark_src/contract.json, nowhere else.

locals {
  contract = jsondecode(file("${path.module}/../spark_src/contract.json"))

  input   = local.contract.folders.input
  storage = local.contract.folders.storage

  # Under the storage: what runs write, and only runs.
  asset_folders = [for folder in values(local.contract.prefixes) : "${local.storage}/${folder}"]
  staging       = "${local.storage}/${local.contract.folders.staging}"
  locks         = "${local.storage}/${local.contract.folders.locks}"
  erasures      = "${local.storage}/${local.contract.folders.erasures}"

  # Made by Terraform and `make up`, read by everybody, written by nobody on the cluster.
  cluster_arguments = local.contract.folders.cluster
  environments      = "${local.storage}/${local.contract.folders.environments}"

  # Where people's photos are, as they came and decoded.
  photo_folders = [local.input, "${local.storage}/${local.contract.prefixes.raw_images}"]
}
