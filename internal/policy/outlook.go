package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"llmgateway.dev/gateway/internal/config"
)

// outlook is what the evaluation of a policy may come to where not everything it reads is known. It
// is never too narrow. It may be too wide: two conditions that exclude each other are not seen to.
type outlook uint8

const (
	no outlook = 1 << iota
	yes
	errs
)

// view is what is known of the requests of one client for one operation on one resource.
//
// cedar-go's own partial evaluation is not used: it has no form for an attribute that may be absent, which
// claims and max_output_tokens are, and its result says of a condition neither that it may be false
// nor that it may err.
type view struct {
	env    eval.Env
	client types.EntityUID
	// named says that the client's id is known.
	named bool
	// issuer is the one that the client's token is of.
	issuer *config.Issuer
	// bounded says that the request bounds its output.
	bounded bool
	// all says that nothing is known of the requests.
	all bool
}

// policy is the outlook of all conditions together. The scope is known to match.
func (v *view) policy(p *xast.Policy) outlook {
	all := yes
	for _, c := range p.Conditions {
		o := v.possible(c.Body)
		if c.Condition == xast.ConditionUnless {
			o = negated(o)
		}
		all = all&^yes | o&^yes | all&o&yes
		if all&yes == 0 {
			break
		}
	}
	return all
}

func negated(o outlook) outlook { return o&errs | (o&yes)>>1 | (o&no)<<1 }

// possible is what the expression may come to, which the validator found to be a Bool.
func (v *view) possible(n xast.IsNode) outlook {
	switch n := n.(type) {
	case xast.NodeTypeAnd:
		left := v.possible(n.Left)
		if left&yes == 0 {
			return left
		}
		return left&^yes | v.possible(n.Right)
	case xast.NodeTypeOr:
		left := v.possible(n.Left)
		if left&no == 0 {
			return left
		}
		return left&^no | v.possible(n.Right)
	case xast.NodeTypeNot:
		return negated(v.possible(n.Arg))
	case xast.NodeTypeIfThenElse:
		cond := v.possible(n.If)
		o := cond & errs
		if cond&yes != 0 {
			o |= v.possible(n.Then)
		}
		if cond&no != 0 {
			o |= v.possible(n.Else)
		}
		return o
	}
	if v.open(n) {
		if v.mayErr(n) {
			return no | yes | errs
		}
		return no | yes
	}
	switch value, err := eval.Eval(n, v.env); {
	case err != nil:
		return errs
	case value == types.True:
		return yes
	case value == types.False:
		return no
	}
	return errs
}

// open reports whether the expression reads something that isn't known.
func (v *view) open(n xast.IsNode) bool {
	found := false
	xast.Inspect(xast.NewNode(n), func(n xast.IsNode) bool {
		root, path, has := reading(n)
		switch root := root.(type) {
		case xast.NodeTypeVariable:
			switch root.Name {
			case "principal":
				found = found || v.principalOpen(path, has)
			case "context":
				found = found || v.all || v.contextOpen(path, has)
			default:
				found = found || v.all
			}
			return false
		case xast.NodeValue:
			found = found || root.Value == types.Value(v.client) && v.principalOpen(path, has)
			return false
		}
		// An attribute of what the policy put together from them may be any of theirs.
		found = found || len(path) > 0 && v.mentioned(root)
		return !found && len(path) == 0
	})
	return found
}

func (v *view) contextOpen(path []string, has bool) bool {
	switch {
	case len(path) == 0:
		return true
	case has, path[0] == "stream":
		return false
	case path[0] == "max_output_tokens":
		return v.bounded // else the reading errs, for sure
	}
	return true
}

func (v *view) principalOpen(path []string, has bool) bool {
	switch {
	case len(path) == 0, path[0] == "issuer", len(path) == 1 && has:
		return false
	case path[0] == "client_id":
		return !v.named
	case path[0] == "claims" && len(path) > 1:
		_, required := v.issuer.Require[path[1]]
		return slices.Contains(v.issuer.Claims, path[1]) && !required
	}
	return true
}

// reading takes a chain of attributes apart: what they are read from, their names, and whether the
// last is only asked for. Of anything else the root is n itself, and there is no path.
func reading(n xast.IsNode) (root xast.IsNode, path []string, has bool) {
	if at, ok := n.(xast.NodeTypeHas); ok {
		n, path, has = at.Arg, []string{string(at.Value)}, true
	}
	for {
		at, ok := n.(xast.NodeTypeAccess)
		if !ok {
			slices.Reverse(path)
			return n, path, has
		}
		n, path = at.Arg, append(path, string(at.Value))
	}
}

// mentioned reports whether a variable, or the client by its name, stands anywhere in the expression.
func (v *view) mentioned(n xast.IsNode) bool {
	found := false
	xast.Inspect(xast.NewNode(n), func(n xast.IsNode) bool {
		switch n := n.(type) {
		case xast.NodeTypeVariable:
			found = true
		case xast.NodeValue:
			found = found || n.Value == types.Value(v.client)
		}
		return !found
	})
	return found
}

// safe are the functions that can't err on values of their types.
var safe = []types.Path{"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual", "isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange",
	"toDate", "toTime", "toDays", "toHours", "toMinutes", "toSeconds", "toMilliseconds"}

// mayErr reports whether the evaluation of the expression, or of a part that may be reached, can err.
// Types are right, and optional attributes asked for before they are read: the validator saw to that.
func (v *view) mayErr(n xast.IsNode) bool {
	if !v.open(n) {
		_, err := eval.Eval(n, v.env)
		return err != nil
	}
	switch n := n.(type) {
	case xast.NodeTypeAdd, xast.NodeTypeSub, xast.NodeTypeMult, xast.NodeTypeNegate: // Longs overflow
		return true
	case xast.NodeTypeExtensionCall:
		if !slices.Contains(safe, n.Name) {
			return true
		}
	case xast.NodeTypeHas, xast.NodeTypeAccess:
		switch root, _, _ := reading(n); root.(type) {
		case xast.NodeTypeVariable, xast.NodeValue:
			return false
		}
		return true
	}
	err, self := false, true
	xast.Inspect(xast.NewNode(n), func(part xast.IsNode) bool {
		if self {
			self = false
			return true
		}
		err = err || v.mayErr(part)
		return false
	})
	return err
}
