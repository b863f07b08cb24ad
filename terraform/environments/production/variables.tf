# modules/gateway/variables.tf says what each is, and judges it.

variable "archive" {
  description = "From make archive: -var-file=dist/archive.tfvars.json."
  type        = any
}

variable "release" {
  description = "A rollback's: what the output of this name said before."
  type        = any
  default     = null
}

variable "project" { type = string }
variable "region" { type = string }
variable "deployer" { type = string }
variable "invokers" { type = set(string) }
variable "credentials" { type = any }

variable "upstream_account" {
  type    = any
  default = null
}

variable "delivery" {
  type    = any
  default = null
}

variable "function" {
  type    = any
  default = {}
}

variable "network" {
  type    = any
  default = null
}

variable "limit_store" {
  type    = any
  default = null
}

variable "alerts" {
  type    = any
  default = {}
}

variable "audit" {
  type    = any
  default = {}
}

variable "deletion_protection" {
  type    = bool
  default = true
}
