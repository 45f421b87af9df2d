# Roles have the permissions that they need, and no others.

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
  dagster_principals  = ["arn:aws:iam::123456789012:role/dagster-host"]
  erasure_principals  = ["arn:aws:iam::123456789012:role/privacy-team"]
  github_repository   = "fruits/features"
}

run "defaults" {
  command = plan

  # No role has all permissions of a service.

  assert {
    condition     = alltrue([for action in flatten([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : flatten([for s in jsondecode(policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []])]) : action != "*" && !endswith(action, ":*")])
    error_message = "A role has all permissions of a service."
  }

  assert {
    condition     = alltrue(flatten([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : [for s in jsondecode(policy).Statement : contains(flatten([s.Resource]), "*") ? contains(["SessionManager", "FindClusters", "StartClusters"], try(s.Sid, "")) : true]]))
    error_message = "A role has a permission on every resource."
  }

  assert {
    condition     = alltrue(flatten([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : [for s in jsondecode(policy).Statement : contains(flatten([s.Action]), "iam:PassRole") ? flatten([s.Resource]) == [s.Condition.StringEquals["iam:PassedToService"] == "ec2.amazonaws.com" ? "arn:aws:iam::123456789012:role/fruits-features-emr-node" : "arn:aws:iam::123456789012:role/fruits-features-emr-service"] : true]]))
    error_message = "A role may pass other roles than the cluster's, or to other services."
  }

  assert {
    condition     = alltrue([for role in [aws_iam_role.dagster[0], aws_iam_role.erasure[0], aws_iam_role.ci[0], aws_iam_role.service, aws_iam_role.node, aws_iam_role.trail] : alltrue([for s in jsondecode(role.assume_role_policy).Statement : s.Principal != "*" && try(s.Principal.AWS, "") != "*"])])
    error_message = "Anyone can assume a role."
  }

  # EMR's service role has policy v2 and can pass one role.

  assert {
    condition     = aws_iam_role_policy_attachment.service.policy_arn == "arn:aws:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2"
    error_message = "The policy of the service role is not v2."
  }

  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.service.policy).Statement : s if try(s.Sid, "") == "PassTheNodesRole"]).Resource == "arn:aws:iam::123456789012:role/fruits-features-emr-node"
    error_message = "The service may pass another role than the nodes'."
  }

  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.service.policy).Statement : s if try(s.Sid, "") == "LetEc2UseTheKeyForDisks"]).Condition.Bool["kms:GrantIsForAWSResource"] == "true"
    error_message = "The service may grant the key to anyone."
  }

  assert {
    condition     = try(jsondecode(aws_iam_role.service.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012", false)
    error_message = "EMR may assume the role for another account's cluster."
  }

  # Nodes can change assets, but not photos or the files that they start from.

  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.node.policy).Statement : alltrue([for resource in flatten([s.Resource]) : !contains(["s3:PutObject", "s3:DeleteObject"], "") && (length(setintersection(toset(flatten([s.Action])), toset(["s3:PutObject", "s3:DeleteObject"]))) == 0 || !anytrue([for folder in ["input", "cluster", "data/environments"] : startswith(resource, "arn:aws:s3:::fruits-features-123456789012-eu-west-1-data/${folder}")]))])])
    error_message = "Nodes may change photos, the scripts or the environment."
  }

  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.node.policy).Statement : alltrue([for resource in flatten([s.Resource]) : !(startswith(resource, "arn:aws:s3:::fruits-features") && (endswith(resource, "-data/*") || endswith(resource, "-data/data/*"))) || flatten([s.Action]) == ["s3:GetObject"]])])
    error_message = "Nodes may write to the whole bucket."
  }

  assert {
    condition     = length(setintersection(toset(flatten([for s in jsondecode(aws_iam_role_policy.node.policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []])), toset(["s3:DeleteObjectVersion", "s3:PutBucketPolicy", "s3:PutLifecycleConfiguration", "s3:PutBucketVersioning", "kms:CreateGrant", "secretsmanager:PutSecretValue"]))) == 0
    error_message = "Nodes may delete versions or change the bucket's configuration."
  }

  # Dagster's host has exactly the permissions that the launcher needs.

  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.dagster[0].policy).Statement : anytrue([for action in flatten([s.Action]) : startswith(action, "elasticmapreduce:")]) ? anytrue([can(s.Condition.StringEquals["aws:ResourceTag/project"]), can(s.Condition.StringEqualsIfExists["aws:ResourceTag/project"]), can(s.Condition.StringEquals["aws:RequestTag/project"]), can(s.Condition.StringEquals["aws:RequestedRegion"])]) : true])
    error_message = "Dagster's host may use other clusters."
  }

  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.dagster[0].policy).Statement : anytrue([for action in flatten([s.Action]) : startswith(action, "sqs:")]) ? flatten([s.Resource]) == [aws_sqs_queue.input[0].arn] : true])
    error_message = "Dagster's host may read other queues."
  }

  assert {
    condition     = length([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : policy if anytrue([for action in flatten([for s in jsondecode(policy).Statement : flatten([s.Action])]) : startswith(action, "sqs:")])]) == 1
    error_message = "Another role reads or writes queues, too."
  }

  assert {
    condition     = jsondecode(aws_iam_role.dagster[0].assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::123456789012:role/dagster-host"]
    error_message = "Identities other than the configured ones can assume the role of Dagster's host."
  }

  # A missing key is "not found", and only the configured folders can be listed.

  assert {
    condition     = alltrue([for policy in [aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy] : alltrue([for s in jsondecode(policy).Statement : contains(flatten([s.Action]), "s3:ListBucket") ? can(s.Condition.StringLikeIfExists["s3:prefix"]) : true])])
    error_message = "A role can list everything, or gets \"access denied\" instead of \"not found\"."
  }

  # Only erasure deletes versions.

  assert {
    condition     = contains(flatten([for s in jsondecode(aws_iam_role_policy.erasure[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]), "s3:DeleteObjectVersion") && contains(flatten([for s in jsondecode(aws_iam_role_policy.erasure[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]), "s3:ListBucketVersions")
    error_message = "Erasure cannot delete every version."
  }

  assert {
    condition     = length([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : policy if contains(flatten([for s in jsondecode(policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]), "s3:DeleteObjectVersion")]) == 1
    error_message = "Another role can also delete versions."
  }

  assert {
    condition     = alltrue([for action in flatten([for s in jsondecode(aws_iam_role_policy.erasure[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]) : startswith(action, "s3:") || startswith(action, "kms:")])
    error_message = "The erasure role has other permissions."
  }

  # CI reads and checks on the main branch.

  assert {
    condition     = alltrue([for action in flatten([for s in jsondecode(aws_iam_role_policy.ci[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]) : can(regex("^(s3:(Get|List)|kms:Decrypt$|elasticmapreduce:(Get|List|Describe))", action))])
    error_message = "CI may change something."
  }

  assert {
    condition     = jsondecode(aws_iam_role.ci[0].assume_role_policy).Statement[0].Condition.StringEquals == { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:fruits/features:ref:refs/heads/main" }
    error_message = "Other branches or repositories can assume the CI role."
  }
}
