// Package gateway is an LLM gateway for machine clients: one Cloud Run function between a
// company's jobs, pipelines and backends and their LLM providers.
//
// A client presents the short-lived access token of its own identity provider. The gateway verifies
// it, decides by the client's groups which model and which operation it may use, puts a credential of
// its own in its place, relays the call and streams the answer back.
//
// This file is all that Google's Go buildpack looks at: it wants exactly one package in the top
// folder of the upload, and finds in it the name under which the function is registered (the
// entry_point of a deployment). Everything else is in function, which composes the packages under
// internal. See docs/architecture.md and docs/adr/0001-root-file-and-function.md.
package gateway

import (
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"llmgateway.dev/gateway/function"
)

func init() {
	functions.HTTP("Gateway", function.Instance().ServeHTTP)
}
