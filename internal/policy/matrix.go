package policy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

// Matrix says for kinds of clients what Decide would say of each of their requests.
//
// A row is of clients about which nothing is known but what the row says: not their claims but those
// that their issuer requires, nor their scopes. Where Decide would not say the same of all requests of such a
// client for one operation on one resource, the outcome is Depends. What a batch file's lines and a
// request's further models need is decided as if each were asked for by itself. In audit mode, the
// matrix is of the denials that are recorded.
type Matrix struct {
	Rows    []Row
	Columns []Column
	// Policies are all in force, sorted by their ids.
	Policies []*Written
	// cells are those of each row, in the order of Columns. Cells that say the same are one.
	cells [][]*Cell
}

// Row is a kind of clients: those in one group and no other, one by its name, or, where both are
// "", all in no group. No policy names them, but for the one by its name, which is in no group.
type Row struct {
	Group, Client string
	// Issuer is the one of their tokens. It is "" for clients in no group whose issuers policies
	// can't tell apart.
	Issuer string
	// Nobody says that there are none: no issuer is configured that gives the group, or none of
	// that URL.
	Nobody bool
}

// Column is a group of operations on a model in one upstream or, where Model is "", on an upstream
// that gets calls which name no model.
type Column struct {
	Model, Upstream string
	Group           operation.Group
	// Operations are those of the group which are decided on such a resource.
	Operations []operation.Name
}

// Outcome is what Decide says of requests.
type Outcome string

const (
	Allow Outcome = "allow"
	// Depends is where it says different things of different requests.
	Depends Outcome = "depends"
	// Deny is for want of a permit, so that a further group may bring one.
	Deny Outcome = "deny"
	// Forbid is by a policy, whatever others permit.
	Forbid Outcome = "forbid"
	// Some is a cell's where only some of its operations are allowed.
	Some Outcome = "some"
)

// Cell is the outcome of a column's operations for a row.
type Cell struct {
	// Outcome is all its parts'; where they differ, it is Some if one of them is Allow, else that of the
	// first in the order Depends, Forbid, Deny that one of them has.
	Outcome Outcome
	Parts   []Part
}

// Part is operations on which the same policies have the same say.
type Part struct {
	Outcome    Outcome
	Operations []operation.Name
	// Reasons are the policies that match all or some of the requests, sorted by their ids.
	Reasons []Reason
}

// Reason is a policy that has a say.
type Reason struct {
	*Written
	// Conditional says that it matches only some of the requests, by what it Reads of them.
	Conditional bool
	Reads       []string
	// Errs says that its evaluation may err, which denies.
	Errs bool
}

// Named is what policies tell clients apart by.
type Named struct {
	Groups, Clients []string
	// Issuers are all that are configured, where policies read the issuer or a claim of it.
	Issuers []string
}

// With is what either names.
func (n Named) With(m Named) Named {
	union := func(a, b []string) []string { return sorted(slices.Concat(a, b)) }
	return Named{union(n.Groups, m.Groups), union(n.Clients, m.Clients), union(n.Issuers, m.Issuers)}
}

// Named lists, sorted, what the policies name.
func (p *Policies) Named() Named {
	var groups, clients, issuers []string
	for _, c := range p.clauses() {
		for _, e := range named(c.ast) {
			switch e.Type {
			case groupType:
				groups = append(groups, string(e.ID))
			case clientType:
				clients = append(clients, string(e.ID))
			}
		}
		if c.readsIssuer && len(p.config.Issuers) > 1 {
			for _, is := range p.config.Issuers {
				issuers = append(issuers, is.URL)
			}
		}
	}
	return Named{sorted(groups), sorted(clients), sorted(issuers)}
}

// named are the entities that the policy names of principals and in its conditions, in their order.
func named(policy *xast.Policy) []types.EntityUID {
	var all []types.EntityUID
	var note func(v types.Value)
	note = func(v types.Value) {
		switch v := v.(type) {
		case types.EntityUID:
			all = append(all, v)
		case types.Set:
			for e := range v.All() {
				note(e)
			}
		case types.Record:
			for e := range v.Values() {
				note(e)
			}
		}
	}
	if eq, ok := policy.Principal.(xast.ScopeTypeEq); ok {
		note(eq.Entity)
	} else if g, ok := groupOf(policy.Principal); ok {
		note(g)
	}
	for _, c := range policy.Conditions {
		xast.Inspect(xast.NewNode(c.Body), func(n xast.IsNode) bool {
			if v, ok := n.(xast.NodeValue); ok {
				note(v.Value)
			}
			return true
		})
	}
	return all
}

// clause is a policy with what the matrix must know of it.
type clause struct {
	Written
	index int
	ast   *xast.Policy
	// reads are the paths of what its conditions read and a row may leave open, by their names.
	reads map[string][]string
	// What else its outlook depends on; the ask is whether there is a stream, and a bound.
	readsIssuer, readsAsk, readsResource, readsAction bool
	// seen are the outlooks for the row that is made.
	seen map[request]outlook
}

// request is what a clause may tell apart: the operation and the resource by their places in the
// maker's lists.
type request struct{ operation, resource, ask int }

// clauses are all policies, sorted by their ids.
func (p *Policies) clauses() []*clause {
	var all []*clause
	for id, policy := range p.set.All() {
		c := &clause{Written: *p.written[id], ast: (*xast.Policy)(policy.AST()), reads: map[string][]string{}}
		plain := *policy.AST()
		plain.Annotations = nil
		c.Meaning = string(cedar.NewPolicyFromAST(&plain).MarshalCedar())
		for _, cond := range c.ast.Conditions {
			xast.Inspect(xast.NewNode(cond.Body), c.note)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *clause) int { return cmp.Compare(a.ID, b.ID) })
	for i, c := range all {
		c.index = i
	}
	return all
}

// note takes down what an expression reads.
func (c *clause) note(n xast.IsNode) bool {
	root, path, has := reading(n)
	name := strings.Join(path, ".")
	switch root := root.(type) {
	case xast.NodeTypeVariable:
		switch root.Name {
		case "resource":
			c.readsResource = true
		case "action":
			c.readsAction = true
		case "context":
			c.context(path, has)
		case "principal":
			c.principal(name, path)
		}
		return false
	case xast.NodeValue: // Client::"…".subject
		c.principal(name, path)
		return false
	}
	c.readsIssuer = c.readsIssuer || len(path) > 0 // of what was put together, by way of it
	return true
}

func (c *clause) context(path []string, has bool) {
	if len(path) == 0 {
		path, has = []string{"stream"}, false
		c.reads[timeAttribute], c.reads["max_output_tokens"] = []string{timeAttribute}, []string{"max_output_tokens"}
	}
	if path[0] != timeAttribute || !has {
		c.reads[path[0]] = path
	}
	c.readsAsk = c.readsAsk || path[0] != timeAttribute
}

func (c *clause) principal(name string, path []string) {
	if len(path) == 0 {
		return
	}
	c.readsIssuer = c.readsIssuer || path[0] == "issuer" || path[0] == "claims"
	if path[0] != "issuer" {
		c.reads[name] = path
	}
}

// maker makes a matrix, row by row.
type maker struct {
	*Policies
	named      Named
	clauses    []*clause
	readsAsk   bool
	operations []*decided
	resources  []resource
	columns    []Column
	// members are the places of each column's operations, and first that of each resource's first column.
	members [][]int
	first   []int
	// applies says of each clause to which operations and resources its scope does.
	onOperation, onResource [][]bool

	parts map[string]*Part
	cells map[string]*Cell
}

// decided is an operation that policies decide, whatever rows the table has for it.
type decided struct {
	name                operation.Name
	group               operation.Group
	model               bool
	canStream, canBound bool
}

// Matrix makes the matrix, with rows for what is named here, which may be more than these policies
// name.
func (p *Policies) Matrix(named Named) *Matrix {
	mk := &maker{Policies: p, named: named, clauses: p.clauses(), parts: map[string]*Part{}, cells: map[string]*Cell{}}
	for _, op := range operation.Decided() {
		d := &decided{name: op.Name, group: op.Group, model: op.NeedsModel()}
		for _, row := range operation.All() {
			d.canStream = d.canStream || row.Name == op.Name && row.CanStream()
			d.canBound = d.canBound || row.Name == op.Name && row.CanBound()
		}
		mk.operations = append(mk.operations, d)
	}
	for _, r := range p.resources() {
		mk.resource(r)
	}
	for _, c := range mk.clauses {
		mk.readsAsk = mk.readsAsk || c.readsAsk
		on := make([]bool, len(mk.operations))
		for i, op := range mk.operations {
			on[i] = inScope(c.ast.Action, types.NewEntityUID(actionType, types.String(op.name)), types.NewEntityUID(actionType, types.String(op.group)))
		}
		mk.onOperation = append(mk.onOperation, on)
		on = make([]bool, len(mk.resources))
		for i, r := range mk.resources {
			e := resourceEntity(r)
			on[i] = inScope(c.ast.Resource, e.UID, slices.Collect(e.Parents.All())...)
		}
		mk.onResource = append(mk.onResource, on)
	}
	m := &Matrix{Columns: mk.columns}
	for _, c := range mk.clauses {
		m.Policies = append(m.Policies, &c.Written)
	}
	for _, r := range mk.rows() {
		m.Rows = append(m.Rows, r)
		m.cells = append(m.cells, mk.row(r))
	}
	return m
}

// resources are all that policies are asked about: each model in each upstream of its targets, and the
// upstreams that get calls which name none.
func (p *Policies) resources() []resource {
	var all []resource
	for _, model := range slices.Sorted(maps.Keys(p.config.Models)) {
		first := len(all)
		for _, t := range p.config.Models[model].Targets {
			if r := (resource{model, t.Upstream}); !slices.Contains(all[first:], r) {
				all = append(all, r)
			}
		}
	}
	for _, upstream := range p.config.DefaultUpstream {
		all = append(all, resource{upstream: upstream})
	}
	return all
}

// Cell is the one of a row and a column, by their places.
func (m *Matrix) Cell(row, column int) *Cell { return m.cells[row][column] }

// resource adds a resource's columns.
func (mk *maker) resource(r resource) {
	mk.first = append(mk.first, len(mk.columns))
	for _, group := range operation.Groups() {
		c := Column{Model: r.model, Upstream: r.upstream, Group: group}
		var members []int
		for i, op := range mk.operations {
			if op.group == group && op.model == (r.model != "") {
				c.Operations, members = append(c.Operations, op.name), append(members, i)
			}
		}
		if len(members) > 0 {
			mk.columns, mk.members = append(mk.columns, c), append(mk.members, members)
		}
	}
	mk.resources = append(mk.resources, r)
}

func (mk *maker) rows() []Row {
	urls := mk.named.Issuers
	if len(urls) == 0 {
		urls = []string{""}
	}
	var rows []Row
	for _, url := range urls {
		rows = append(rows, Row{Issuer: url, Nobody: url != "" && mk.issuer(url) == nil || len(mk.config.Issuers) == 0})
	}
	for _, group := range mk.named.Groups {
		r := Row{Group: group, Nobody: true}
		if is := config.IssuerOf(group, mk.config.Issuers); is != nil {
			r.Issuer, r.Nobody = is.URL, false
		}
		rows = append(rows, r)
	}
	for _, client := range mk.named.Clients {
		url, _, _ := strings.Cut(client, "#")
		rows = append(rows, Row{Client: client, Issuer: url, Nobody: mk.issuer(url) == nil})
	}
	return rows
}

func (mk *maker) issuer(url string) *config.Issuer {
	if i := slices.IndexFunc(mk.config.Issuers, func(is config.Issuer) bool { return is.URL == url }); i >= 0 {
		return &mk.config.Issuers[i]
	}
	return nil
}

// inScope reports whether the entity, whose parents are all its ancestors, is in the scope.
func inScope(s xast.IsScopeNode, e types.EntityUID, parents ...types.EntityUID) bool {
	in := func(of types.EntityUID) bool { return e == of || slices.Contains(parents, of) }
	switch s := s.(type) {
	case xast.ScopeTypeEq:
		return e == s.Entity
	case xast.ScopeTypeIn:
		return in(s.Entity)
	case xast.ScopeTypeInSet:
		return slices.ContainsFunc(s.Entities, in)
	case xast.ScopeTypeIs:
		return e.Type == s.Type
	case xast.ScopeTypeIsIn:
		return e.Type == s.Type && in(s.Entity)
	}
	return true
}

// row makes the row's cells.
func (mk *maker) row(r Row) []*Cell {
	var v *view
	var candidates []*clause
	if !r.Nobody {
		v = mk.view(r)
		e := v.env.Entities.(entities).client
		v.all = true
		for _, c := range mk.clauses {
			if inScope(c.ast.Principal, e.UID, slices.Collect(e.Parents.All())...) && v.policy(c.ast) != no {
				c.seen = map[request]outlook{}
				candidates = append(candidates, c)
			}
		}
		v.all = false
	}
	cells := make([]*Cell, 0, len(mk.columns))
	alike := map[string][]*Cell{} // by the clauses that apply
	for at, first := range mk.first {
		columns := mk.members[first:]
		if at+1 < len(mk.first) {
			columns = mk.members[first:mk.first[at+1]]
		}
		var here []*clause
		key := flag(nil, mk.resources[at].model != "")
		for _, c := range candidates {
			if mk.onResource[c.index][at] {
				here = append(here, c)
				key = binary.AppendUvarint(key, uint64(c.index))
				if c.readsResource {
					key = binary.AppendUvarint(key, uint64(at))
				}
			}
		}
		some, made := alike[string(key)]
		if !made {
			for i, members := range columns {
				parts := make([]*Part, len(members))
				for i, op := range members {
					parts[i] = mk.part(v, here, op, at)
				}
				some = append(some, mk.cell(first+i, parts))
			}
			alike[string(key)] = some
		}
		cells = append(cells, some...)
	}
	return cells
}

// view is what is known of the row's clients.
func (mk *maker) view(r Row) *view {
	is := &mk.config.Issuers[0]
	if r.Issuer != "" {
		is = mk.issuer(r.Issuer)
	}
	who := &principal.Principal{Issuer: is.URL, ClientID: "any", Claims: map[string]string{}}
	for slices.Contains(mk.named.Clients, who.ID()) {
		who.ClientID += " other"
	}
	if r.Client != "" {
		_, who.ClientID, _ = strings.Cut(r.Client, "#")
	}
	if r.Group != "" {
		who.Groups = []string{r.Group}
	}
	for _, name := range is.Claims {
		if value, required := is.Require[name]; required {
			who.Claims[name] = value
		}
	}
	e := clientEntity(who)
	return &view{client: e.UID, named: r.Client != "", issuer: is, env: eval.Env{Principal: e.UID, Entities: entities{actions: mk.actions, client: e}}}
}

const (
	streamed = 1 << iota
	bounded
)

// asks are those that a request for the operation may make, as far as policies tell them apart.
func (mk *maker) asks(op *decided) []int {
	asks := []int{0}
	if mk.readsAsk && op.canStream {
		asks = append(asks, streamed)
	}
	if mk.readsAsk && op.canBound {
		for _, ask := range asks {
			asks = append(asks, ask|bounded)
		}
	}
	return asks
}

// outlook is the clause's for a request of the row's clients; its scope matches.
func (mk *maker) outlook(v *view, c *clause, req request) outlook {
	if !c.readsAsk {
		req.ask = 0
	}
	if !c.readsAction {
		req.operation = 0
	}
	if !c.readsResource {
		req.resource = 0
	}
	o, seen := c.seen[req]
	if !seen {
		e := v.env.Entities.(entities)
		e.resource = resourceEntity(mk.resources[req.resource])
		q := &inquiry{ask: operation.Ask{Stream: req.ask&streamed != 0}}
		v.bounded = req.ask&bounded != 0
		if v.bounded {
			q.ask.MaxOutputTokens = new(int64)
		}
		v.env.Entities, v.env.Resource, v.env.Context = e, e.resource.UID, q.context()
		v.env.Action = types.NewEntityUID(actionType, types.String(mk.operations[req.operation].name))
		o = v.policy(c.ast)
		c.seen[req] = o
	}
	return o
}

// part is one operation's on a resource. What is the same was made before.
func (mk *maker) part(v *view, here []*clause, op, at int) *Part {
	about := mk.operations[op]
	all := make([]outlook, len(here))
	var outcome Outcome
	for _, ask := range mk.asks(about) {
		var permits, mayPermit, denies, mayDeny bool
		for i, c := range here {
			if !mk.onOperation[c.index][op] {
				continue
			}
			o := mk.outlook(v, c, request{op, at, ask})
			all[i] |= o
			if c.Forbids {
				denies = denies || o&no == 0
				mayDeny = mayDeny || o != no
			} else {
				permits = permits || o == yes
				mayPermit = mayPermit || o&yes != 0
				denies = denies || o == errs
				mayDeny = mayDeny || o&errs != 0
			}
		}
		switch {
		case denies:
			outcome = joined(outcome, Forbid)
		case !mayPermit:
			outcome = joined(outcome, Deny)
		case permits && !mayDeny:
			outcome = joined(outcome, Allow)
		default:
			outcome = joined(outcome, Depends)
		}
	}
	key := []byte(outcome)
	var reasons []Reason
	for i, c := range here {
		if all[i]&(yes|errs) == 0 {
			continue
		}
		r := Reason{Written: &c.Written, Conditional: all[i] != yes && all[i] != errs, Errs: all[i]&errs != 0}
		if r.Conditional {
			r.Reads = c.open(v, about)
		}
		reasons = append(reasons, r)
		key = binary.AppendUvarint(key, uint64(c.index))
		key = text(append(key, byte(all[i])), strings.Join(r.Reads, "\x00"))
	}
	p := mk.parts[string(key)]
	if p == nil {
		p = &Part{Outcome: outcome, Reasons: reasons}
		mk.parts[string(key)] = p
	}
	return p
}

// joined is the outcome of requests of which some have the one and some the other.
func joined(a, b Outcome) Outcome {
	denied := func(o Outcome) bool { return o == Deny || o == Forbid }
	switch {
	case a == "", a == b:
		return b
	case denied(a) && denied(b):
		return Deny
	}
	return Depends
}

// open names what the conditions read of requests for the operation and nothing of the row tells.
func (c *clause) open(v *view, op *decided) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.reads)) {
		switch path := c.reads[name]; {
		case name == "stream" && !op.canStream, name == "max_output_tokens" && !op.canBound:
		case name == "stream", name == "max_output_tokens", name == timeAttribute, v.principalOpen(path, false):
			names = append(names, name)
		}
	}
	return names
}

// cell puts a column's parts together: those of its operations, in their order. A part that several
// operations share is one.
func (mk *maker) cell(column int, parts []*Part) *Cell {
	var key strings.Builder
	fmt.Fprint(&key, mk.members[column])
	for _, p := range parts {
		fmt.Fprintf(&key, " %p", p)
	}
	if cell := mk.cells[key.String()]; cell != nil {
		return cell
	}
	cell := &Cell{}
	places := map[*Part]int{}
	outcomes := map[Outcome]bool{}
	for i, p := range parts {
		at, there := places[p]
		if !there {
			at = len(cell.Parts)
			places[p] = at
			cell.Parts = append(cell.Parts, *p)
			outcomes[p.Outcome] = true
		}
		cell.Parts[at].Operations = append(cell.Parts[at].Operations, mk.columns[column].Operations[i])
	}
	order := []Outcome{Allow, Depends, Forbid, Deny}
	cell.Outcome = order[slices.IndexFunc(order, func(o Outcome) bool { return outcomes[o] })]
	if cell.Outcome == Allow && len(outcomes) > 1 {
		cell.Outcome = Some
	}
	mk.cells[key.String()] = cell
	return cell
}
