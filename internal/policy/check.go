package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// checker looks for what is wrong with one policy. Cedar's validator knows types, but no entity's
// id, and takes "has" of an attribute that doesn't exist for a plain false: a misspelt forbid would
// forbid nothing. The checker's own walk finds both.
type checker struct {
	*loader
	policy *xast.Policy
	// text is the policy as it was written.
	text string
	// undeclared says that the walk found names that the validator would stumble over again.
	undeclared bool
}

func (c *checker) check() {
	c.scope(c.policy.Principal)
	c.scope(c.policy.Action)
	c.scope(c.policy.Resource)
	for _, cond := range c.policy.Conditions {
		xast.Inspect(xast.NewNode(cond.Body), c.node)
		xast.Inspect(xast.NewNode(cond.Body), c.time)
	}
	c.validate()
}

func (c *checker) scope(s xast.IsScopeNode) {
	switch s := s.(type) {
	case xast.ScopeTypeEq:
		c.entity(s.Entity)
		c.group(s.Entity)
	case xast.ScopeTypeIn:
		c.entity(s.Entity)
	case xast.ScopeTypeInSet:
		for _, e := range s.Entities {
			c.entity(e)
		}
	case xast.ScopeTypeIs:
		c.entityType(s.Type)
	case xast.ScopeTypeIsIn:
		c.entityType(s.Type)
		c.entity(s.Entity)
	}
}

func (c *checker) node(n xast.IsNode) bool {
	switch n := n.(type) {
	case xast.NodeValue:
		if e, ok := n.Value.(types.EntityUID); ok {
			c.entity(e)
		}
	case xast.NodeTypeIs:
		c.entityType(n.EntityType)
	case xast.NodeTypeIsIn:
		c.entityType(n.EntityType)
	case xast.NodeTypeHas:
		c.attribute(n.Arg, n.Value)
	case xast.NodeTypeAccess:
		c.attribute(n.Arg, n.Value)
	case xast.NodeTypeHasTag:
		c.fault("hasTag", "nothing here has tags; read attributes")
	case xast.NodeTypeEquals:
		c.equality(n.Left, n.Right)
	case xast.NodeTypeNotEquals:
		c.equality(n.Left, n.Right)
	case xast.NodeTypeContains:
		if set, ok := n.Left.(xast.NodeTypeSet); ok {
			for _, e := range set.Elements {
				c.equality(e, n.Right)
			}
		}
	}
	return true
}

// equality finds values that one side can't have.
func (c *checker) equality(a, b xast.IsNode) {
	for _, side := range [][2]xast.IsNode{{a, b}, {b, a}} {
		value, ok := side[0].(xast.NodeValue)
		if !ok {
			continue
		}
		switch v := value.Value.(type) {
		case types.EntityUID:
			c.group(v)
		case types.String:
			if side[1] == xast.Principal().Access("issuer").AsIsNode() {
				c.declared("issuer", string(v), v.String(), c.issuers())
			}
		}
	}
}

// group refuses a group of operations where one operation is meant: no action equals it.
func (c *checker) group(e types.EntityUID) {
	if e.Type == actionType && slices.Contains(operation.Groups(), operation.Group(e.ID)) {
		c.undeclared = true
		c.fault(e.String(), "%s is a group of operations, which no action equals; write action in %[1]s", e)
	}
}

func (c *checker) entity(e types.EntityUID) {
	id := string(e.ID)
	switch e.Type {
	case modelType:
		c.declared("model", id, e.String(), slices.Sorted(maps.Keys(c.config.Models)))
	case upstreamType:
		c.declared("upstream", id, e.String(), slices.Sorted(maps.Keys(c.config.Upstreams)))
	case actionType:
		if _, known := c.schema.Actions[e]; !known {
			c.declared("operation that policies decide", id, e.String(), c.operations())
		}
	case clientType:
		issuer, client, _ := strings.Cut(id, "#")
		if client == "" {
			c.fault(e.String(), `%s names no client; write Client::"<issuer url>#<client id>"`, e)
			return
		}
		c.declared("issuer", issuer, e.String(), c.issuers())
	case groupType: // the identity providers' own
	default:
		c.entityType(e.Type)
	}
}

func (c *checker) entityType(t types.EntityType) {
	if _, known := c.schema.Entities[t]; !known && t != actionType {
		names := []string{string(actionType)}
		for name := range c.schema.Entities {
			names = append(names, string(name))
		}
		c.declared("entity type", string(t), string(t), slices.Sorted(slices.Values(names)))
	}
}

func (c *checker) issuers() []string {
	var urls []string
	for _, is := range c.config.Issuers {
		urls = append(urls, is.URL)
	}
	return urls
}

func (c *checker) operations() []string {
	var names []string
	for uid := range c.schema.Actions {
		names = append(names, string(uid.ID))
	}
	return slices.Sorted(slices.Values(names))
}

// attribute refuses an attribute that arg doesn't have.
func (c *checker) attribute(arg xast.IsNode, name types.String) {
	attrs, ok := c.attributes(arg)
	if _, has := attrs[name]; !ok || has {
		return
	}
	var known []string
	for k := range attrs {
		known = append(known, string(k))
	}
	c.declared("attribute here", string(name), string(name), slices.Sorted(slices.Values(known)))
}

// attributes are those of a variable, of an entity, or of a record in one; the second result is
// false for any other expression, which is left to the validator.
func (c *checker) attributes(n xast.IsNode) (resolved.RecordType, bool) {
	switch n := n.(type) {
	case xast.NodeTypeVariable:
		switch n.Name {
		case "principal":
			return c.schema.Entities[clientType].Shape, true
		case "context":
			for _, a := range c.schema.Actions { // it is the same for all
				if a.AppliesTo != nil {
					return a.AppliesTo.Context, true
				}
			}
		}
		return nil, true // action and resource have none
	case xast.NodeValue:
		if e, ok := n.Value.(types.EntityUID); ok {
			return c.schema.Entities[e.Type].Shape, true
		}
	case xast.NodeTypeAccess:
		if _, deeper := n.Arg.(xast.NodeTypeAccess); deeper {
			return nil, false // no record of the schema holds another
		}
		attrs, _ := c.attributes(n.Arg)
		record, ok := attrs[n.Value].Type.(resolved.RecordType)
		return record, ok
	}
	return nil, false
}

// time notes that the policy may read context.time: by its name, or in the context as a whole.
func (c *checker) time(n xast.IsNode) bool {
	var arg xast.IsNode
	var name types.String
	switch n := n.(type) {
	case xast.NodeTypeAccess:
		arg, name = n.Arg, n.Value
	case xast.NodeTypeHas:
		arg, name = n.Arg, n.Value
	default:
		arg = n
	}
	if arg != xast.Context().AsIsNode() {
		return true
	}
	c.readsTime = c.readsTime || name == "" || name == timeAttribute
	return false
}

// perOperation is where the validator repeats a fault for each operation that the policy is for.
var perOperation = regexp.MustCompile("( in context)? for (Action::\"[^\"]*\"|`Action::\"[^\"]*\"`)")

// validate adds what Cedar's validator finds and the walk hasn't.
func (c *checker) validate() {
	err := c.validator.Policy("", c.policy)
	if err == nil {
		return
	}
	messages := strings.Split(perOperation.ReplaceAllString(err.Error(), "$1"), "\n")
	slices.Sort(messages)
	for _, m := range slices.Compact(messages) {
		switch {
		case strings.HasPrefix(m, "unable to guarantee safety of access"):
			m += `; ask with "has" whether it is there`
		case c.undeclared && (strings.HasPrefix(m, "unrecognized ") || strings.HasPrefix(m, "attribute ")):
			continue
		case strings.HasPrefix(m, "unable to find an applicable action"):
			if c.undeclared {
				continue
			}
			m = "can never apply: no operation named here is by such a principal on such a resource"
		}
		c.fault("", "%s", m)
	}
}

// declared reports a name that is not among the known.
func (c *checker) declared(what, name, at string, known []string) {
	if !slices.Contains(known, name) {
		c.undeclared = true
		c.fault(at, "no %s is called %q; %s", what, name, config.Suggest(name, known))
	}
}

// fault reports what stands in the policy's text at the first occurrence of at, or the policy as a
// whole.
func (c *checker) fault(at, format string, args ...any) {
	c.faults = append(c.faults, faultAt(c.policy, c.text, at, format, args...))
}

func faultAt(policy *xast.Policy, text, at, format string, args ...any) config.Fault {
	pos := policy.Position
	f := config.Fault{File: pos.Filename, Line: pos.Line, Column: pos.Column, Message: fmt.Sprintf(format, args...)}
	for _, a := range policy.Annotations {
		if a.Key == "id" {
			f.Path = pathOf(string(a.Value))
		}
	}
	if i := strings.Index(text, at); i > 0 {
		before := text[:i]
		f.Line += strings.Count(before, "\n")
		if nl := strings.LastIndex(before, "\n"); nl >= 0 {
			before, f.Column = before[nl+1:], 1
		}
		f.Column += utf8.RuneCountInString(before)
	}
	return f
}
