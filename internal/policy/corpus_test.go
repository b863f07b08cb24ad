package policy

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	exptypes "github.com/cedar-policy/cedar-go/x/exp/types"

	"llmgateway.dev/gateway/test/corpora"
)

// TestCedarsCorpus holds what Cedar's own differential tests generated, and what its reference in Rust
// decided, against the verdict that a request gets here. One thing is expected otherwise: where a
// policy errs, the reference passes it over; here it denies, and a permit it overrode determined nothing.
func TestCedarsCorpus(t *testing.T) {
	files := corpora.Archive(t, "github.com/cedar-policy/cedar-go", "corpus-tests.tar.gz")
	const always = "always"
	var permit cedar.Policy
	if err := permit.UnmarshalCedar([]byte("permit (principal, action, resource);")); err != nil {
		t.Fatal(err)
	}
	requests, allowed, overruled := 0, 0, 0
	for name, document := range files {
		if path.Ext(name) != ".json" || strings.HasSuffix(name, ".entities.json") {
			continue
		}
		var vector struct {
			Schema, Policies, Entities string
			Requests                   []struct {
				Principal, Action, Resource types.EntityUID
				Context                     types.Record
				Decision                    cedar.Decision
				Reason, Errors              []string
			}
		}
		if err := json.Unmarshal(document, &vector); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		set, err := cedar.NewPolicySetFromBytes(name, files[vector.Policies])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		open, err := cedar.NewPolicySetFromBytes(name, files[vector.Policies])
		if err != nil || !open.Add(always, &permit) {
			t.Fatalf("%s: %v", name, err)
		}
		var s schema.Schema
		if err := s.UnmarshalCedar(files[vector.Schema]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resolved, err := s.Resolve()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var e exptypes.EntityMap // some values say only by the schema what they are
		if err := e.UnmarshalJSONWithSchema(files[vector.Entities], resolved); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, r := range vector.Requests {
			requests++
			request := cedar.Request{Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: r.Context}
			check := func(set *cedar.PolicySet, allowed bool, policies []string) {
				if len(r.Errors) > 0 && allowed {
					allowed, policies = false, nil
				}
				v := judge(set, types.EntityMap(e), request)
				slices.Sort(v.policies)
				slices.Sort(v.errors)
				if v.allowed != allowed || !slices.Equal(v.policies, policies) || !slices.Equal(v.errors, r.Errors) {
					t.Errorf("%s, request %d: %+v, want allowed %t by %q with errors %q", name, i, v, allowed, policies, r.Errors)
				}
			}
			slices.Sort(r.Reason)
			slices.Sort(r.Errors)
			check(set, r.Decision == cedar.Allow, r.Reason)
			// In the corpus no policy errs where another permits. With one that always does, all that
			// neither a forbid nor an error denied is allowed.
			forbidden := r.Decision == cedar.Deny && len(r.Reason) > 0
			if !forbidden {
				r.Reason = append(r.Reason, always)
				slices.Sort(r.Reason)
			}
			check(open, !forbidden, r.Reason)
			switch {
			case r.Decision == cedar.Allow:
				allowed++
			case len(r.Errors) > 0 && !forbidden:
				overruled++
			}
		}
	}
	t.Logf("%d requests: %d allowed, %d denied by an error alone where another policy permits", requests, allowed, overruled)
	if allowed == 0 || overruled == 0 {
		t.Error("the corpus shows too little")
	}
}
