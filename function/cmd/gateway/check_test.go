package main

import (
	"bytes"
	"testing"
)

// The example that people begin with must not begin with an alarm.
func TestTheExampleHasNeitherFaultNorWarning(t *testing.T) {
	const file = "../../../docs/gateway.yaml"
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"check", "--config", file}, &stdout, &stderr); status != 0 || stdout.String() != file+": no faults\n" {
		t.Errorf("status %d: %s%s", status, &stdout, &stderr)
	}
}
