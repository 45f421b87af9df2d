# What AWS would answer, in the forms that the real provider's own validation takes.

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_resource "aws_s3_bucket" {
  override_during = plan
  defaults        = { arn = "arn:aws:s3:::a-bucket" }
}

mock_resource "aws_kms_key" {
  override_during = plan
  defaults        = { arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
}

mock_resource "aws_iam_role" {
  override_during = plan
  defaults        = { arn = "arn:aws:iam::123456789012:role/a-role" }
}

mock_resource "aws_iam_instance_profile" {
  override_during = plan
  defaults        = { arn = "arn:aws:iam::123456789012:instance-profile/a-profile" }
}

mock_resource "aws_iam_openid_connect_provider" {
  override_during = plan
  defaults        = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
}

mock_resource "aws_cloudwatch_log_group" {
  override_during = plan
  defaults        = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:a-group" }
}

mock_resource "aws_sns_topic" {
  override_during = plan
  defaults        = { arn = "arn:aws:sns:eu-west-1:123456789012:a-topic" }
}

mock_resource "aws_sqs_queue" {
  override_during = plan
  defaults = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:a-queue"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/a-queue"
  }
}

mock_resource "aws_vpc_endpoint" {
  override_during = plan
  defaults        = { prefix_list_id = "pl-00000000" }
}

# These need no form, but have to be known in a plan.

mock_resource "aws_vpc" {
  override_during = plan
}

mock_resource "aws_subnet" {
  override_during = plan
}

mock_resource "aws_route_table" {
  override_during = plan
}

mock_resource "aws_security_group" {
  override_during = plan
}

mock_resource "aws_vpc_security_group_ingress_rule" {
  override_during = plan
}
