# The cluster encrypts data, terminates itself, and can run the project.

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

variables {
  environment_archive = "env-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.tar.gz"
  budget_emails       = ["data-team@example.org"]
}

run "defaults" {
  command = plan

  # The cluster encrypts at rest and between nodes.

  assert {
    condition     = jsondecode(aws_emr_security_configuration.this.configuration).EncryptionConfiguration.EnableInTransitEncryption
    error_message = "Traffic between nodes is not encrypted."
  }

  assert {
    condition     = jsondecode(aws_emr_security_configuration.this.configuration).EncryptionConfiguration.InTransitEncryptionConfiguration.TLSCertificateConfiguration == { CertificateProviderType = "PEM", S3Object = "s3://fruits-features-123456789012-eu-west-1-data/cluster/certificates.zip" }
    error_message = "The certificates are not those that `make up` creates."
  }

  assert {
    condition     = jsondecode(aws_emr_security_configuration.this.configuration).EncryptionConfiguration.EnableAtRestEncryption
    error_message = "Data at rest is not encrypted."
  }

  assert {
    condition     = jsondecode(aws_emr_security_configuration.this.configuration).EncryptionConfiguration.AtRestEncryptionConfiguration.S3EncryptionConfiguration == { EncryptionMode = "SSE-KMS", AwsKmsKey = aws_kms_key.data.arn }
    error_message = "EMR does not encrypt its S3 objects with the data's key."
  }

  assert {
    condition     = jsondecode(aws_emr_security_configuration.this.configuration).EncryptionConfiguration.AtRestEncryptionConfiguration.LocalDiskEncryptionConfiguration == { EncryptionKeyProviderType = "AwsKms", AwsKmsKey = aws_kms_key.data.arn, EnableEbsEncryption = true }
    error_message = "Disks, including the root volume, are not encrypted with the data's key."
  }

  assert {
    condition     = jsondecode(aws_emr_security_configuration.this.configuration).InstanceMetadataServiceConfiguration.MinimumInstanceMetadataServiceVersion == 2
    error_message = "Nodes expose their role's credentials by IMDSv1."
  }

  assert {
    condition     = jsondecode(aws_emr_security_configuration.this.configuration).InstanceMetadataServiceConfiguration.HttpPutResponseHopLimit <= 2
    error_message = "The role's credentials can be read further away than in JupyterHub's container."
  }

  assert {
    condition     = aws_emr_cluster.this[0].security_configuration == aws_emr_security_configuration.this.name
    error_message = "The cluster does not use its security configuration."
  }

  assert {
    condition     = aws_emr_block_public_access_configuration.this.block_public_security_group_rules && length(aws_emr_block_public_access_configuration.this.permitted_public_security_group_rule_range) == 0
    error_message = "A cluster can open ports to the internet."
  }

  assert {
    condition     = aws_emr_cluster.this[0].log_encryption_kms_key_id == aws_kms_key.data.arn && aws_emr_cluster.this[0].log_uri == "s3://fruits-features-123456789012-eu-west-1-logs/emr/"
    error_message = "Logs are not kept, or not encrypted with the data's key."
  }

  # The cluster terminates itself and stays small.

  assert {
    condition     = try(aws_emr_cluster.this[0].auto_termination_policy[0].idle_timeout == 3600, false)
    error_message = "An idle cluster keeps costing money."
  }

  assert {
    condition     = !aws_emr_cluster.this[0].termination_protection
    error_message = "The cluster can only be terminated manually."
  }

  assert {
    condition     = aws_emr_cluster.this[0].master_instance_group[0].instance_type == "m5.xlarge" && aws_emr_cluster.this[0].core_instance_group[0].instance_type == "m5.xlarge" && aws_emr_cluster.this[0].core_instance_group[0].instance_count == 2
    error_message = "The default is not 1 + 2 m5.xlarge."
  }

  assert {
    condition     = one(aws_emr_managed_scaling_policy.this[0].compute_limits).minimum_capacity_units == 2 && one(aws_emr_managed_scaling_policy.this[0].compute_limits).maximum_capacity_units == 6
    error_message = "Managed scaling has other limits than configured."
  }

  assert {
    condition     = length(aws_emr_instance_group.spot) == 0
    error_message = "There are spot nodes although none were requested."
  }

  assert {
    condition     = anytrue([for c in jsondecode(aws_emr_cluster.this[0].configurations_json) : c.Classification == "livy-conf" && try(c.Properties["livy.server.session.timeout"] == "30m", false)])
    error_message = "An open notebook prevents the cluster from terminating itself."
  }

  # The cluster is configured for the project.

  assert {
    condition     = aws_emr_cluster.this[0].release_label == "emr-7.13.0" && toset(aws_emr_cluster.this[0].applications) == toset(["Hadoop", "Spark", "Livy", "JupyterHub"])
    error_message = "Release or applications differ."
  }

  assert {
    condition     = aws_emr_cluster.this[0].bootstrap_action[0].args == tolist(["eu-west-1", "s3://fruits-features-123456789012-eu-west-1-data/data/environments/env-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.tar.gz"])
    error_message = "Nodes unpack another environment than the uploaded one."
  }

  assert {
    condition     = anytrue([for c in jsondecode(aws_emr_cluster.this[0].configurations_json) : c.Classification == "spark-defaults" && try(c.Properties["spark.pyspark.python"] == "/opt/fruits/env/bin/python", false)])
    error_message = "Spark does not run the packed Python."
  }

  assert {
    condition     = !anytrue([for c in jsondecode(aws_emr_cluster.this[0].configurations_json) : c.Classification == "jupyter-s3-conf"])
    error_message = "Every program on the cluster can access all notebooks."
  }

  assert {
    condition     = aws_emr_cluster.this[0].step_concurrency_level == 2
    error_message = "Steps run one at a time."
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].subnet_id == aws_subnet.private[0].id
    error_message = "The cluster is in another network."
  }

  assert {
    condition     = aws_emr_cluster.this[0].ec2_attributes[0].emr_managed_master_security_group == aws_security_group.primary.id && aws_emr_cluster.this[0].ec2_attributes[0].service_access_security_group == aws_security_group.service.id
    error_message = "The cluster uses other security groups."
  }

  # All resources that EMR uses have its tag.

  assert {
    condition = alltrue([
      for tags in [aws_emr_cluster.this[0].tags, aws_vpc.this.tags, aws_subnet.private[0].tags, aws_subnet.private[1].tags, aws_security_group.primary.tags, aws_security_group.core.tags, aws_security_group.service.tags, aws_iam_role.service.tags, aws_iam_role.node.tags] :
      try(tags["for-use-with-amazon-emr-managed-policies"] == "true" && tags["project"] == "fruits-features", false)
    ])
    error_message = "Without the tag EMR's policy refuses to work on it."
  }
}
