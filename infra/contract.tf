# Values shared by this module and the Python code. They are defined in spark_src/contract.json only.

locals {
  contract = jsondecode(file("${path.module}/../spark_src/contract.json"))

  input   = local.contract.folders.input
  storage = local.contract.folders.storage

  # Folders in the storage that only runs write.
  asset_folders = [for folder in values(local.contract.prefixes) : "${local.storage}/${folder}"]
  staging       = "${local.storage}/${local.contract.folders.staging}"
  locks         = "${local.storage}/${local.contract.folders.locks}"
  erasures      = "${local.storage}/${local.contract.folders.erasures}"

  # Written by Terraform and `make up`, read by all roles, never written on the cluster.
  cluster_arguments = local.contract.folders.cluster
  environments      = "${local.storage}/${local.contract.folders.environments}"

  # Folders of people's photos: original and decoded.
  photo_folders = [local.input, "${local.storage}/${local.contract.prefixes.raw_images}"]
}
