package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

// maxRemembered bounds the verdicts in memory, at some 300 bytes each.
const maxRemembered = 8192

// inquiry is everything a verdict depends on but the resource. It serves one request.
type inquiry struct {
	*Policies
	who       *principal.Principal
	operation *operation.Operation
	ask       operation.Ask
	time      time.Time
	// lenient lets through what the policies deny, and nothing else that is denied: audit mode.
	lenient bool

	// verdicts are those already reached. A request that names a model often costs once: the first
	// maxSought are looked through.
	verdicts []reached
	// asked is the Cedar form of the above, made when the first verdict isn't remembered.
	asked *asked
	// prefix is what the keys of all verdicts begin with, before their resource.
	prefix []byte
}

type asked struct {
	client  types.Entity
	context types.Record
}

// resource is a model in one upstream or, where model is "", the upstream itself.
type resource struct{ model, upstream string }

// maxSought is more than most requests ask for.
const maxSought = 32

type reached struct {
	resource
	verdict
}

// verdict is the outcome of one evaluation of all policies.
type verdict struct {
	allowed          bool
	policies, errors []string
	remembered       bool
}

// key is a SHA-256: a verdict remembered under it is nobody else's.
type key [sha256.Size]byte

func (p *Policies) inquire(who *principal.Principal, op *operation.Operation, ask operation.Ask, at time.Time) *inquiry {
	q := &inquiry{Policies: p, who: who, operation: op, ask: ask, time: at}
	if p.remembered != nil {
		q.prefix = q.encode()
	}
	return q
}

// action is the operation as policies name it.
func (q *inquiry) action() types.EntityUID {
	return types.NewEntityUID(actionType, types.String(q.operation.Name))
}

// decidable reports whether the operation is one that policies decide. Without its entity a policy
// for a group of operations would pass it over, be it a forbid.
func (q *inquiry) decidable() bool {
	_, known := q.actions[q.action()]
	return known
}

// allows reports whether the operation is let through on the resource.
func (q *inquiry) allows(r resource) bool {
	for i := range min(len(q.verdicts), maxSought) {
		if v := &q.verdicts[i]; v.resource == r {
			return v.allowed || q.lenient
		}
	}
	v := q.recall(r)
	q.verdicts = append(q.verdicts, reached{r, v})
	return v.allowed || q.lenient
}

func (q *inquiry) recall(r resource) verdict {
	if q.remembered == nil {
		return q.evaluate(r)
	}
	k := q.key(r)
	if v, ok := q.remembered.Get(k); ok {
		v.remembered = true
		return v
	}
	v := q.evaluate(r)
	q.remembered.Add(k, v)
	return v
}

// key is that of the verdict on the resource.
func (q *inquiry) key(r resource) key {
	return sha256.Sum256(text(text(q.prefix, r.model), r.upstream))
}

// encode writes the inquiry so that no two different ones read alike: each text and each list after
// its length.
func (q *inquiry) encode() []byte {
	b := make([]byte, 0, 512)
	for _, s := range []string{q.who.Issuer, q.who.Subject, q.who.ClientID, string(q.operation.Name)} {
		b = text(b, s)
	}
	for _, list := range [][]string{q.who.Groups, q.who.Scopes} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = text(b, s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(q.who.Claims)))
	if len(q.who.Claims) > 0 {
		for _, name := range slices.Sorted(maps.Keys(q.who.Claims)) {
			b = text(text(b, name), q.who.Claims[name])
		}
	}
	b = flag(b, q.ask.Stream)
	b = flag(b, q.ask.MaxOutputTokens != nil)
	if q.ask.MaxOutputTokens != nil {
		b = binary.AppendVarint(b, *q.ask.MaxOutputTokens)
	}
	return b
}

func text(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func flag(b []byte, is bool) []byte {
	if is {
		return append(b, 1)
	}
	return append(b, 0)
}

// evaluate asks all policies.
func (q *inquiry) evaluate(r resource) verdict {
	if q.asked == nil {
		q.asked = &asked{client: clientEntity(q.who), context: q.context()}
	}
	e := entities{actions: q.actions, client: q.asked.client, resource: resourceEntity(r)}
	return judge(q.set, e, cedar.Request{
		Principal: e.client.UID,
		Action:    q.action(),
		Resource:  e.resource.UID,
		Context:   q.asked.context,
	})
}

// judge is Cedar's decision, but for one thing: where the evaluation of any policy errs, it is a denial.
func judge(set *cedar.PolicySet, e types.EntityGetter, request cedar.Request) verdict {
	decision, reasons := cedar.Authorize(set, e, request)
	var v verdict
	for _, err := range reasons.Errors {
		v.errors = append(v.errors, string(err.PolicyID))
	}
	v.allowed = decision == cedar.Allow && len(v.errors) == 0
	if v.allowed || decision == cedar.Deny { // a permit that an error overrode determined nothing
		for _, reason := range reasons.Reasons {
			v.policies = append(v.policies, string(reason.PolicyID))
		}
	}
	return v
}

func (q *inquiry) context() types.Record {
	m := types.RecordMap{"stream": types.Boolean(q.ask.Stream), timeAttribute: types.NewDatetime(q.time)}
	if q.ask.MaxOutputTokens != nil {
		m["max_output_tokens"] = types.Long(*q.ask.MaxOutputTokens)
	}
	return types.NewRecord(m)
}

// entities are those of one evaluation. Groups and upstreams are only ever parents, which need no
// entity of their own.
type entities struct {
	actions          types.EntityMap
	client, resource types.Entity
}

// Get is types.EntityGetter.
func (e entities) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case e.client.UID:
		return e.client, true
	case e.resource.UID:
		return e.resource, true
	}
	return e.actions.Get(uid)
}

func clientEntity(who *principal.Principal) types.Entity {
	groups := make([]types.EntityUID, len(who.Groups))
	for i, g := range who.Groups {
		groups[i] = types.NewEntityUID(groupType, types.String(g))
	}
	scopes := make([]types.Value, len(who.Scopes))
	for i, s := range who.Scopes {
		scopes[i] = types.String(s)
	}
	claims := make(types.RecordMap, len(who.Claims))
	for name, value := range who.Claims {
		claims[types.String(name)] = types.String(value)
	}
	return types.Entity{
		UID:     types.NewEntityUID(clientType, types.String(who.ID())),
		Parents: types.NewEntityUIDSet(groups...),
		Attributes: types.NewRecord(types.RecordMap{
			"issuer":    types.String(who.Issuer),
			"subject":   types.String(who.Subject),
			"client_id": types.String(who.ClientID),
			"scopes":    types.NewSet(scopes...),
			"claims":    types.NewRecord(claims),
		}),
	}
}

// resourceEntity has the upstream as its one parent, so that a policy about one upstream can't
// reach the model's other targets.
func resourceEntity(r resource) types.Entity {
	upstream := types.NewEntityUID(upstreamType, types.String(r.upstream))
	if r.model == "" {
		return types.Entity{UID: upstream}
	}
	return types.Entity{
		UID:     types.NewEntityUID(modelType, types.String(r.model)),
		Parents: types.NewEntityUIDSet(upstream),
	}
}
