# The RunJobFlow arguments with which `fruits` restarts the cluster after it has terminated itself. EMR
# does not return the policies or the target size of a terminated cluster, so they are stored here. No
# Amazon Linux release is set: each start uses the latest one of the EMR release.

locals {
  disks = {
    EbsBlockDeviceConfigs = [{
      VolumeSpecification = { VolumeType = local.disk.type, SizeInGB = local.disk.size }
      VolumesPerInstance  = local.disk.volumes_per_instance
    }]
  }

  node_groups_at_start = concat(
    [
      {
        Name             = "primary"
        InstanceRole     = "MASTER"
        InstanceType     = var.instance_type
        InstanceCount    = 1
        EbsConfiguration = local.disks
      },
      {
        Name             = "core"
        InstanceRole     = "CORE"
        InstanceType     = var.instance_type
        InstanceCount    = var.core_count
        EbsConfiguration = local.disks
      },
    ],
    var.spot_bid_usd == null ? [] : [{
      Name             = "spot"
      InstanceRole     = "TASK"
      InstanceType     = var.instance_type
      InstanceCount    = 1
      Market           = "SPOT"
      BidPrice         = tostring(var.spot_bid_usd)
      EbsConfiguration = local.disks
    }],
  )

  job_flow = {
    Name                  = var.name
    ReleaseLabel          = var.release
    Applications          = [for name in local.applications : { Name = name }]
    ServiceRole           = aws_iam_role.service.arn
    JobFlowRole           = aws_iam_instance_profile.node.arn
    SecurityConfiguration = aws_emr_security_configuration.this.name
    Configurations        = local.configurations
    LogUri                = local.log_uri
    LogEncryptionKmsKeyId = aws_kms_key.data.arn
    EbsRootVolumeSize     = local.root_volume_gb
    StepConcurrencyLevel  = var.step_concurrency
    VisibleToAllUsers     = true
    Tags                  = [for key, value in local.tags : { Key = key, Value = value }]
    AutoTerminationPolicy = { IdleTimeout = var.idle_minutes * 60 }

    ManagedScalingPolicy = {
      ComputeLimits = {
        UnitType                     = "Instances"
        MinimumCapacityUnits         = var.core_count
        MaximumCapacityUnits         = var.max_nodes
        MaximumCoreCapacityUnits     = local.ondemand_nodes
        MaximumOnDemandCapacityUnits = local.ondemand_nodes
      }
    }

    BootstrapActions = [
      for action in local.bootstrap_actions : {
        Name                  = action.name
        ScriptBootstrapAction = { Path = local.script_uri[action.script], Args = action.args }
      }
    ]

    Instances = merge(
      {
        InstanceGroups                = local.node_groups_at_start
        Ec2SubnetId                   = aws_subnet.private[var.zone].id
        EmrManagedMasterSecurityGroup = aws_security_group.primary.id
        EmrManagedSlaveSecurityGroup  = aws_security_group.core.id
        ServiceAccessSecurityGroup    = aws_security_group.service.id
        KeepJobFlowAliveWhenNoSteps   = true
        TerminationProtected          = false
        UnhealthyNodeReplacement      = true
      },
      length(aws_security_group.operators) == 0 ? {} : { AdditionalMasterSecurityGroups = aws_security_group.operators[*].id },
      length(aws_key_pair.this) == 0 ? {} : { Ec2KeyName = aws_key_pair.this[0].key_name },
    )
  }
}

# `fruits` reads cluster/<FRUITS_CLUSTER>.json in the storage's bucket. The object is outside the storage, so
# that the erasure role, which deletes earlier versions there, needs no access to it. Only Terraform writes it.
resource "aws_s3_object" "job_flow" {
  bucket       = aws_s3_bucket.this["data"].id
  key          = "${local.cluster_arguments}/${var.name}.json"
  content      = jsonencode(local.job_flow)
  content_type = "application/json"
  kms_key_id   = aws_kms_key.data.arn
  tags         = local.tags

  depends_on = [terraform_data.storage]
}
