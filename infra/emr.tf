# The cluster. Once it has ended itself, `fruits` starts one like it; Terraform's is the model.

locals {
  python = "${local.contract.environment_path}/bin/python"

  # Names in S3 of the scripts in infra/cluster/.
  cluster_scripts = {
    for file in fileset("${path.module}/cluster", "*.sh") : file => "cluster/${file}"
  }
  script_uri = {
    for file, key in local.cluster_scripts : file => "s3://${local.bucket_names["data"]}/${key}"
  }

  environment_uri = "s3://${local.bucket_names["data"]}/${local.environments}/${var.environment_archive}"
  certificates    = "s3://${local.bucket_names["data"]}/cluster/certificates.zip"
  script_runner   = "s3://${var.region}.elasticmapreduce/libs/script-runner/script-runner.jar"

  configurations = [
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
      # A forgotten notebook would keep the cluster from ending itself.
      Classification = "livy-conf"
      Properties     = { "livy.server.session.timeout" = "30m" }
    },
    {
      Classification = "jupyter-s3-conf"
      Properties = {
        "s3.persistence.enabled" = "true"
        "s3.persistence.bucket"  = local.bucket_names["data"]
      }
    },
  ]
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
        # With EBS encryption the root volume is encrypted, too.
        LocalDiskEncryptionConfiguration = {
          EncryptionKeyProviderType = "AwsKms"
          AwsKmsKey                 = aws_kms_key.data.arn
          EnableEbsEncryption       = true
        }
      }
    }
    InstanceMetadataServiceConfiguration = {
      MinimumInstanceMetadataServiceVersion = 2
      HttpPutResponseHopLimit               = 2 # JupyterHub's container is one hop further
    }
  })
}

# In the whole region no cluster of the account may open a port to the world.
resource "aws_emr_block_public_access_configuration" "this" {
  block_public_security_group_rules = true
}

resource "aws_emr_cluster" "this" {
  count = var.paused ? 0 : 1

  name                              = var.name
  release_label                     = var.release
  applications                      = ["Hadoop", "Spark", "Livy", "JupyterHub"]
  service_role                      = aws_iam_role.service.arn
  security_configuration            = aws_emr_security_configuration.this.name
  configurations_json               = jsonencode(local.configurations)
  log_uri                           = "s3://${local.bucket_names["logs"]}/emr/"
  log_encryption_kms_key_id         = aws_kms_key.data.arn
  ebs_root_volume_size              = 40
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
      type                 = "gp3"
      size                 = 64
      volumes_per_instance = 1
    }
  }

  core_instance_group {
    name           = "core"
    instance_type  = var.instance_type
    instance_count = var.core_count

    ebs_config {
      type                 = "gp3"
      size                 = 64
      volumes_per_instance = 1
    }
  }

  bootstrap_action {
    name = "environment"
    path = local.script_uri["bootstrap.sh"]
    args = [local.environment_uri]
  }

  bootstrap_action {
    name = "session manager"
    path = local.script_uri["session-manager.sh"]
  }

  # Before JupyterHub starts: its well-known password must not be reachable for a second.
  dynamic "bootstrap_action" {
    for_each = aws_security_group.operators

    content {
      name = "close JupyterHub"
      path = local.script_uri["close-jupyterhub.sh"]
    }
  }

  # The name's start says that a cluster started like this one does it again: see cluster_copy.py.
  step {
    name              = "setup: JupyterHub's password"
    action_on_failure = "TERMINATE_CLUSTER"

    hadoop_jar_step {
      jar  = local.script_runner
      args = [local.script_uri["jupyterhub-password.sh"], var.region, local.secret_name]
    }
  }

  lifecycle {
    # Steps come and go with every run; scaling changes the number of nodes.
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

  # With spot nodes whatever is more than the first core nodes is spot.
  compute_limits {
    unit_type                       = "Instances"
    minimum_capacity_units          = var.core_count
    maximum_capacity_units          = var.max_nodes
    maximum_core_capacity_units     = var.spot_bid_usd == null ? var.max_nodes : var.core_count
    maximum_ondemand_capacity_units = var.spot_bid_usd == null ? var.max_nodes : var.core_count
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
    type                 = "gp3"
    size                 = 64
    volumes_per_instance = 1
  }

  lifecycle {
    ignore_changes = [instance_count]
  }
}
