# Ways to JupyterHub: a port forward (always), ranges of operators (if asked for), SSH's key (if wanted).

# `infra/commands/jupyterhub-password` makes the secret and its value: neither is ever in Terraform's state.
# No node reads it: nodes get its hash, an object beside the certificates.
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

# After the cluster; and the node itself refuses port 9443 until the password is replaced.
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

# The public half only, and no rule for port 22: SSH goes through Session Manager.
resource "aws_key_pair" "this" {
  count = var.ssh_public_key == null ? 0 : 1

  key_name   = var.name
  public_key = var.ssh_public_key
  tags       = local.tags
}
