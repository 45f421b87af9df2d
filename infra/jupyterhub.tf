# Access to JupyterHub: a port forward (always), operators' IP ranges (optional), an SSH key (optional).

# `infra/commands/jupyterhub-password` creates the secret and its value, so neither is in Terraform's state.
# Nodes cannot read it: they read its hash, an object stored with the certificates.
locals {
  secret_name       = "${var.name}/jupyterhub"
  password_hash_uri = "s3://${local.bucket_names["data"]}/cluster/jupyterhub-password.hash"
}

resource "aws_security_group" "operators" {
  count = length(var.operator_cidrs) > 0 ? 1 : 0

  name        = "${var.name}-operators"
  description = "JupyterHub for operators"
  vpc_id      = aws_vpc.this.id
  tags        = merge(local.tags, { Name = "${var.name}-operators" })
}

# Created after the cluster. The node itself blocks port 9443 until the password is replaced.
resource "aws_vpc_security_group_ingress_rule" "operators" {
  for_each = var.paused ? [] : toset(var.operator_cidrs)

  description       = "JupyterHub for operators"
  security_group_id = aws_security_group.operators[0].id
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 9443
  to_port           = 9443
  tags              = local.tags

  depends_on = [aws_emr_cluster.this]
}

# Only the public key, and no rule for port 22: SSH uses Session Manager.
resource "aws_key_pair" "this" {
  count = var.ssh_public_key == null ? 0 : 1

  key_name   = var.name
  public_key = var.ssh_public_key
  tags       = local.tags
}
