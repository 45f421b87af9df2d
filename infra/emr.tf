# The cluster. After it has terminated itself, `fruits` starts a new one with the arguments stored in
# the bucket (job_flow.tf). Both are built from the same locals.

locals {
  python = "${local.contract.environment_path}/bin/python"

  # S3 keys of the scripts in infra/cluster/.
  cluster_scripts = {
    for file in fileset("${path.module}/cluster", "*.sh") : file => "cluster/${file}"
  }
  script_uri = {
    for file, key in local.cluster_scripts : file => "s3://${local.bucket_names["data"]}/${key}"
  }

  environment_uri = "s3://${local.bucket_names["data"]}/${local.environments}/${var.environment_archive}"
  certificates    = "s3://${local.bucket_names["data"]}/cluster/certificates.zip"
  applications    = ["Hadoop", "Spark", "Livy", "JupyterHub"]
  log_uri         = "s3://${local.bucket_names["logs"]}/emr/"
  root_volume_gb  = 40
  disk            = { type = "gp3", size = 64, volumes_per_instance = 1 }

  # An xlarge has 4 vCPUs, a 2xlarge 8, and so on.
  size                = regex("\\.([0-9]*)xlarge$", var.instance_type)[0]
  vcpus_of_node       = 4 * (local.size == "" ? 1 : tonumber(local.size))
  vcpus_at_start      = (1 + var.core_count) * local.vcpus_of_node
  spot_vcpus_at_start = var.spot_bid_usd == null ? 0 : local.vcpus_of_node

  # With a spot bid, all nodes beyond the initial core nodes are spot nodes.
  ondemand_nodes = var.spot_bid_usd == null ? var.max_nodes : var.core_count

  bootstrap_actions = [
    { name = "environment", script = "bootstrap.sh", args = [var.region, local.environment_uri] },
    { name = "session manager", script = "session-manager.sh", args = [] },
    { name = "JupyterHub", script = "jupyterhub.sh", args = ["install", var.region, local.password_hash_uri] },
  ]

  # JupyterHub's container uses the nodes' role, like every program on the cluster.
  notebook_configurations = var.keep_notebooks ? [{
    Classification = "jupyter-s3-conf"
    Properties = {
      "s3.persistence.enabled" = "true"
      "s3.persistence.bucket"  = local.bucket_names["data"]
    }
  }] : []

  configurations = concat([
    {
      Classification = "spark-defaults"
      Properties = {
        "spark.pyspark.python"        = local.python
        "spark.pyspark.driver.python" = local.python
        "spark.sql.session.timeZone"  = "UTC"
      }
    },
    {
      Classification = "spark-env"
      Properties     = {}
      Configurations = [{
        Classification = "export"
        Properties = {
          PYSPARK_PYTHON        = local.python
          PYSPARK_DRIVER_PYTHON = local.python
        }
      }]
    },
    {
      # An open notebook would otherwise prevent the cluster from terminating itself.
      Classification = "livy-conf"
      Properties     = { "livy.server.session.timeout" = "30m" }
    },
  ], local.notebook_configurations)
}

resource "aws_emr_security_configuration" "this" {
  name = var.name

  configuration = jsonencode({
    EncryptionConfiguration = {
      EnableInTransitEncryption = true
      InTransitEncryptionConfiguration = {
        TLSCertificateConfiguration = {
          CertificateProviderType = "PEM"
          S3Object                = local.certificates
        }
      }
      EnableAtRestEncryption = true
      AtRestEncryptionConfiguration = {
        S3EncryptionConfiguration = {
          EncryptionMode = "SSE-KMS"
          AwsKmsKey      = aws_kms_key.data.arn
        }
        # EBS encryption includes the root volume.
        LocalDiskEncryptionConfiguration = {
          EncryptionKeyProviderType = "AwsKms"
          AwsKmsKey                 = aws_kms_key.data.arn
          EnableEbsEncryption       = true
        }
      }
    }
    InstanceMetadataServiceConfiguration = {
      MinimumInstanceMetadataServiceVersion = 2
      HttpPutResponseHopLimit               = 2 # JupyterHub's container is one hop away
    }
  })
}

# In this region no cluster of the account may open a port to the internet.
resource "aws_emr_block_public_access_configuration" "this" {
  block_public_security_group_rules = true
}

resource "aws_emr_cluster" "this" {
  count = var.paused ? 0 : 1

  name                              = var.name
  release_label                     = var.release
  applications                      = local.applications
  service_role                      = aws_iam_role.service.arn
  security_configuration            = aws_emr_security_configuration.this.name
  configurations_json               = jsonencode(local.configurations)
  log_uri                           = local.log_uri
  log_encryption_kms_key_id         = aws_kms_key.data.arn
  ebs_root_volume_size              = local.root_volume_gb
  step_concurrency_level            = var.step_concurrency
  keep_job_flow_alive_when_no_steps = true
  termination_protection            = false
  unhealthy_node_replacement        = true
  visible_to_all_users              = true
  tags                              = local.tags

  auto_termination_policy {
    idle_timeout = var.idle_minutes * 60
  }

  ec2_attributes {
    subnet_id                         = aws_subnet.private[var.zone].id
    instance_profile                  = aws_iam_instance_profile.node.arn
    emr_managed_master_security_group = aws_security_group.primary.id
    emr_managed_slave_security_group  = aws_security_group.core.id
    service_access_security_group     = aws_security_group.service.id
    additional_master_security_groups = join(",", aws_security_group.operators[*].id)
    key_name                          = one(aws_key_pair.this[*].key_name)
  }

  master_instance_group {
    name           = "primary"
    instance_type  = var.instance_type
    instance_count = 1

    ebs_config {
      type                 = local.disk.type
      size                 = local.disk.size
      volumes_per_instance = local.disk.volumes_per_instance
    }
  }

  core_instance_group {
    name           = "core"
    instance_type  = var.instance_type
    instance_count = var.core_count

    ebs_config {
      type                 = local.disk.type
      size                 = local.disk.size
      volumes_per_instance = local.disk.volumes_per_instance
    }
  }

  dynamic "bootstrap_action" {
    for_each = local.bootstrap_actions

    content {
      name = bootstrap_action.value.name
      path = local.script_uri[bootstrap_action.value.script]
      args = bootstrap_action.value.args
    }
  }

  lifecycle {
    # Every run changes the steps, and scaling changes the number of nodes.
    ignore_changes = [step, core_instance_group[0].instance_count]
  }

  depends_on = [
    aws_iam_role_policy.node,
    aws_iam_role_policy.service,
    aws_iam_role_policy_attachment.service,
    aws_route_table_association.private,
    aws_s3_object.cluster_scripts,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.s3,
    aws_vpc_security_group_egress_rule.nodes,
    aws_vpc_security_group_egress_rule.primary_to_service,
    aws_vpc_security_group_egress_rule.service,
    aws_vpc_security_group_egress_rule.to_endpoints,
    aws_vpc_security_group_egress_rule.to_s3,
    aws_vpc_security_group_ingress_rule.endpoints,
    aws_vpc_security_group_ingress_rule.from_service,
    aws_vpc_security_group_ingress_rule.nodes,
    aws_vpc_security_group_ingress_rule.service,
  ]
}

resource "aws_emr_managed_scaling_policy" "this" {
  count = length(aws_emr_cluster.this)

  cluster_id = aws_emr_cluster.this[0].id

  compute_limits {
    unit_type                       = "Instances"
    minimum_capacity_units          = var.core_count
    maximum_capacity_units          = var.max_nodes
    maximum_core_capacity_units     = local.ondemand_nodes
    maximum_ondemand_capacity_units = local.ondemand_nodes
  }
}

resource "aws_emr_instance_group" "spot" {
  count = var.spot_bid_usd == null ? 0 : length(aws_emr_cluster.this)

  name           = "spot"
  cluster_id     = aws_emr_cluster.this[0].id
  instance_type  = var.instance_type
  instance_count = 1
  bid_price      = tostring(var.spot_bid_usd)

  ebs_config {
    type                 = local.disk.type
    size                 = local.disk.size
    volumes_per_instance = local.disk.volumes_per_instance
  }

  lifecycle {
    ignore_changes = [instance_count]
  }
}
