package policy

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

// A verdict that is remembered under too little is somebody else's.
func TestEveryInputChangesTheKey(t *testing.T) {
	someone := func() *principal.Principal {
		return &principal.Principal{Issuer: "https://id", Subject: "s", ClientID: "c", Groups: []string{"g", "h"}, Scopes: []string{"x", "y"}, Claims: map[string]string{"k": "v", "l": "w"}}
	}
	var zero, one int64 = 0, 1
	ops := operation.All()
	keys := map[key]string{}
	add := func(what string, who *principal.Principal, op *operation.Operation, stream bool, most *int64, r resource) {
		t.Helper()
		q := &inquiry{who: who, operation: op, ask: operation.Ask{Stream: stream, MaxOutputTokens: most}}
		q.prefix = q.encode()
		k := q.key(r)
		if other, taken := keys[k]; taken {
			t.Errorf("%s has the key of %s", what, other)
		}
		keys[k] = what
		if q.key(r) != k {
			t.Errorf("%s has two keys", what)
		}
	}
	r := resource{"m", "u"}
	add("the first", someone(), ops[0], false, nil, r)
	add("another operation", someone(), ops[1], false, nil, r)
	add("a stream", someone(), ops[0], true, nil, r)
	add("no output tokens", someone(), ops[0], false, &zero, r)
	add("one output token", someone(), ops[0], false, &one, r)
	add("another model", someone(), ops[0], false, nil, resource{"n", "u"})
	add("another upstream", someone(), ops[0], false, nil, resource{"m", "v"})
	add("the upstream itself", someone(), ops[0], false, nil, resource{"", "u"})
	add("the model's end in the upstream", someone(), ops[0], false, nil, resource{"", "mu"})

	// By reflection, so that a field added to Principal is not forgotten here.
	for i := range reflect.TypeFor[principal.Principal]().NumField() {
		who := someone()
		f := reflect.ValueOf(who).Elem().Field(i)
		name := reflect.TypeFor[principal.Principal]().Field(i).Name
		switch v := f.Addr().Interface().(type) {
		case *string:
			*v += "'"
		case *[]string:
			*v = append(*v, "z")
		case *map[string]string:
			(*v)["m"] = "z"
		case *int:
			if name == "DroppedGroups" { // no policy sees it
				continue
			}
			*v++
		default:
			t.Fatalf("no change known for %s", name)
		}
		add("another "+name, who, ops[0], false, nil, r)
	}

	// Texts that would run together.
	for what, change := range map[string]func(*principal.Principal){
		"issuer and subject":      func(p *principal.Principal) { p.Issuer, p.Subject = "https://ids", "" },
		"subject and client":      func(p *principal.Principal) { p.Subject, p.ClientID = "", "sc" },
		"two groups in one":       func(p *principal.Principal) { p.Groups = []string{"gh"} },
		"a group among scopes":    func(p *principal.Principal) { p.Groups, p.Scopes = []string{"g"}, []string{"h", "x", "y"} },
		"an empty group":          func(p *principal.Principal) { p.Groups = []string{"", "g", "h"} },
		"no groups":               func(p *principal.Principal) { p.Groups = nil },
		"claims' values swapped":  func(p *principal.Principal) { p.Claims = map[string]string{"k": "w", "l": "v"} },
		"a claim's name in value": func(p *principal.Principal) { p.Claims = map[string]string{"k": "vl", "w": ""} },
		"a length in a text":      func(p *principal.Principal) { p.Groups = []string{"g\x01h"} },
	} {
		who := someone()
		change(who)
		add(what, who, ops[0], false, nil, r)
	}
}

// Policies are checked against the schema; this checks that what they are asked keeps to it too.
func TestWhatPoliciesAreAskedConformsToTheSchema(t *testing.T) {
	c := &config.Config{Issuers: []config.Issuer{{Claims: []string{"k"}}}}
	v := validate.New(newSchema(c))
	p, faults := Load(c)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	var most int64 = 5
	for _, who := range []*principal.Principal{
		{Issuer: "https://id", ClientID: "c"},
		{Issuer: "https://id", Subject: "s", ClientID: "c", Groups: []string{"g"}, Scopes: []string{"x"}, Claims: map[string]string{"k": "v"}},
	} {
		for _, op := range operation.All() {
			for _, bound := range []*int64{nil, &most} {
				q := p.inquire(who, op, operation.Ask{Stream: bound != nil, MaxOutputTokens: bound}, time.Now())
				if q.decidable() == op.IsList() {
					t.Errorf("%s: decidable = %t", op.Name, q.decidable())
				}
				if op.IsList() {
					continue
				}
				r := resource{upstream: "u"}
				if op.NeedsModel() {
					r.model = "m"
				}
				request := types.Request{Principal: clientEntity(who).UID, Action: q.action(), Resource: resourceEntity(r).UID, Context: q.context()}
				if err := v.Request(request); err != nil {
					t.Errorf("%s: %v", op.Name, err)
				}
				for _, e := range []types.Entity{clientEntity(who), resourceEntity(r), p.actions[q.action()]} {
					if err := v.Entity(e); err != nil {
						t.Errorf("%s: %v", op.Name, err)
					}
				}
			}
		}
	}
	for _, e := range p.actions {
		if err := v.Entity(e); err != nil {
			t.Error(err)
		}
	}
}

func TestPoliciesAreSafeForConcurrentUse(t *testing.T) {
	p, faults := Load(&config.Config{
		Upstreams:       map[string]config.Upstream{"a": {}, "b": {}},
		DefaultUpstream: config.Names{"a", "b"},
	})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for _, op := range operation.All() {
				who := &principal.Principal{Issuer: "https://id", ClientID: string(rune('a' + i%4))}
				if d := p.Decide(who, &operation.Request{Route: operation.Route{Operation: op}}, time.Now()); d.Err() == nil {
					t.Errorf("%s is allowed without a policy", op.Name)
				}
			}
		})
	}
	wg.Wait()
}
