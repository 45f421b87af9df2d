# Roles can do what their work needs, and nothing else.

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

run "as_it_comes" {
  command = plan

  # No role may do everything of a service.

  assert {
    condition     = alltrue([for action in flatten([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : flatten([for s in jsondecode(policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []])]) : action != "*" && !endswith(action, ":*")])
    error_message = "A role may do everything of a service."
  }

  assert {
    condition     = alltrue(flatten([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : [for s in jsondecode(policy).Statement : contains(flatten([s.Resource]), "*") ? contains(["SessionManager", "FindClusters"], try(s.Sid, "")) : true]]))
    error_message = "A role may do something to every resource."
  }

  assert {
    condition     = alltrue(flatten([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : [for s in jsondecode(policy).Statement : contains(flatten([s.Action]), "iam:PassRole") ? flatten([s.Resource]) == [s.Condition.StringEquals["iam:PassedToService"] == "ec2.amazonaws.com" ? "arn:aws:iam::123456789012:role/fruits-features-emr-node" : "arn:aws:iam::123456789012:role/fruits-features-emr-service"] : true]]))
    error_message = "A role may pass other roles than the cluster's, or to other services."
  }

  assert {
    condition     = alltrue([for role in [aws_iam_role.dagster[0], aws_iam_role.erasure[0], aws_iam_role.ci[0], aws_iam_role.service, aws_iam_role.node, aws_iam_role.trail] : alltrue([for s in jsondecode(role.assume_role_policy).Statement : s.Principal != "*" && try(s.Principal.AWS, "") != "*"])])
    error_message = "Anybody may take a role."
  }

  # Emrs service role is v2 and passes one role.

  assert {
    condition     = aws_iam_role_policy_attachment.service.policy_arn == "arn:aws:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2"
    error_message = "The service's policy is not v2."
  }

  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.service.policy).Statement : s if try(s.Sid, "") == "PassTheNodesRole"]).Resource == "arn:aws:iam::123456789012:role/fruits-features-emr-node"
    error_message = "The service may pass another role than the nodes'."
  }

  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.service.policy).Statement : s if try(s.Sid, "") == "LetEc2UseTheKeyForDisks"]).Condition.Bool["kms:GrantIsForAWSResource"] == "true"
    error_message = "The service may give the key to anybody."
  }

  assert {
    condition     = try(jsondecode(aws_iam_role.service.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012", false)
    error_message = "EMR may take the role for another account's cluster."
  }

  # Nodes change assets but neither photos nor what they start from.

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
    error_message = "Nodes may delete versions or change how the bucket is kept."
  }

  # Dagsters host has just what the launcher calls.

  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.dagster[0].policy).Statement : anytrue([for action in flatten([s.Action]) : startswith(action, "elasticmapreduce:")]) ? anytrue([can(s.Condition.StringEquals["aws:ResourceTag/project"]), can(s.Condition.StringEquals["aws:RequestTag/project"]), can(s.Condition.StringEquals["aws:RequestedRegion"])]) : true])
    error_message = "Dagster's host may work on other clusters."
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
    error_message = "Others than the named identities are Dagster's host."
  }

  # What is not there is "not found", and only the named folders are listed.

  assert {
    condition     = alltrue([for policy in [aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy] : alltrue([for s in jsondecode(policy).Statement : contains(flatten([s.Action]), "s3:ListBucket") ? can(s.Condition.StringLikeIfExists["s3:prefix"]) : true])])
    error_message = "A role lists everything, or gets \"access denied\" where \"not found\" is meant."
  }

  # Only erasure deletes versions.

  assert {
    condition     = contains(flatten([for s in jsondecode(aws_iam_role_policy.erasure[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]), "s3:DeleteObjectVersion") && contains(flatten([for s in jsondecode(aws_iam_role_policy.erasure[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]), "s3:ListBucketVersions")
    error_message = "Erasure cannot delete every version."
  }

  assert {
    condition     = length([for policy in [aws_iam_role_policy.service.policy, aws_iam_role_policy.node.policy, aws_iam_role_policy.dagster[0].policy, aws_iam_role_policy.erasure[0].policy, aws_iam_role_policy.ci[0].policy, aws_iam_role_policy.trail.policy] : policy if contains(flatten([for s in jsondecode(policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]), "s3:DeleteObjectVersion")]) == 1
    error_message = "Another role deletes versions, too."
  }

  assert {
    condition     = alltrue([for action in flatten([for s in jsondecode(aws_iam_role_policy.erasure[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]) : startswith(action, "s3:") || startswith(action, "kms:")])
    error_message = "Erasure may do other things."
  }

  # Ci reads and checks from the main branch.

  assert {
    condition     = alltrue([for action in flatten([for s in jsondecode(aws_iam_role_policy.ci[0].policy).Statement : s.Effect == "Allow" ? flatten([s.Action]) : []]) : can(regex("^(s3:(Get|List)|kms:Decrypt$|elasticmapreduce:(Get|List|Describe))", action))])
    error_message = "CI may change something."
  }

  assert {
    condition     = jsondecode(aws_iam_role.ci[0].assume_role_policy).Statement[0].Condition.StringEquals == { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:fruits/features:ref:refs/heads/main" }
    error_message = "Other branches or repositories are CI, too."
  }
}
