package terraform_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// folder is the blocks of all *.tf files of a folder.
type folder struct {
	name   string // below terraform/
	blocks []*hclsyntax.Block
}

const root = "../.."

// folders are all there are; two of them make something.
func folders(t *testing.T) []folder {
	t.Helper()
	var all []folder
	for _, pattern := range []string{"bootstrap", "modules/*", "environments/*"} {
		dirs, err := filepath.Glob(filepath.Join(root, "terraform", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if f := parse(t, dir); len(f.blocks) > 0 {
				all = append(all, f)
			}
		}
	}
	if len(all) < 4 {
		t.Fatalf("only %d folders of terraform/ have files", len(all))
	}
	return all
}

func gateway(t *testing.T) folder { return parse(t, filepath.Join(root, "terraform/modules/gateway")) }

func parse(t *testing.T, dir string) folder {
	t.Helper()
	f := folder{name: strings.TrimPrefix(filepath.ToSlash(dir), root+"/terraform/")}
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f.blocks = append(f.blocks, syntax(t, file, text).Blocks...)
	}
	return f
}

func syntax(t *testing.T, file string, text []byte) *hclsyntax.Body {
	t.Helper()
	parsed, faults := hclsyntax.ParseConfig(text, file, hcl.InitialPos)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return parsed.Body.(*hclsyntax.Body)
}

// resources are by their addresses.
func (f folder) resources() map[string]*hclsyntax.Block {
	found := map[string]*hclsyntax.Block{}
	for _, b := range f.blocks {
		if b.Type == "resource" {
			found[strings.Join(b.Labels, ".")] = b
		}
	}
	return found
}

// locals are by their names.
func (f folder) locals() map[string]hclsyntax.Expression {
	found := map[string]hclsyntax.Expression{}
	for _, b := range f.blocks {
		if b.Type == "locals" {
			for name, a := range b.Body.Attributes {
				found[name] = a.Expr
			}
		}
	}
	return found
}

// within are a block and all in it.
func within(b *hclsyntax.Block) []*hclsyntax.Block {
	all := []*hclsyntax.Block{b}
	for _, inner := range b.Body.Blocks {
		all = append(all, within(inner)...)
	}
	return all
}

// references are what a part of a file refers to: local.a, var.a, google_storage_bucket.a …
func references(node hclsyntax.Node) []string {
	var found []string
	hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok && len(e.Traversal) > 1 {
			if a, ok := e.Traversal[1].(hcl.TraverseAttr); ok {
				found = append(found, e.Traversal.RootName()+"."+a.Name)
			}
		}
		return nil
	})
	return found
}

// literals are the strings that stand in a part of a file.
func literals(node hclsyntax.Node) []string {
	var found []string
	hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		if e, ok := n.(*hclsyntax.LiteralValueExpr); ok && e.Val.Type() == cty.String {
			found = append(found, e.Val.AsString())
		}
		return nil
	})
	return found
}

// literal is an attribute's value, where it is a string that says so itself.
func literal(b *hclsyntax.Block, name string) string {
	if a := b.Body.Attributes[name]; a != nil {
		if v, faults := a.Expr.Value(nil); !faults.HasErrors() && v.Type() == cty.String {
			return v.AsString()
		}
	}
	return ""
}

// reference is an attribute's value, where it is nothing but a reference.
func reference(b *hclsyntax.Block, name string) string {
	if a := b.Body.Attributes[name]; a != nil {
		if e, ok := a.Expr.(*hclsyntax.ScopeTraversalExpr); ok {
			return strings.Join(references(e), " ")
		}
	}
	return ""
}

// defaults is the value of a variable that nobody sets.
func (f folder) defaults(t *testing.T, name string) cty.Value {
	t.Helper()
	for _, b := range f.blocks {
		if b.Type != "variable" || b.Labels[0] != name {
			continue
		}
		of, defaults, faults := typeexpr.TypeConstraintWithDefaults(b.Body.Attributes["type"].Expr)
		value, more := b.Body.Attributes["default"].Expr.Value(nil)
		if faults = append(faults, more...); faults.HasErrors() {
			t.Fatal(faults)
		}
		if defaults != nil {
			value = defaults.Apply(value)
		}
		value, err := convert.Convert(value, of)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	t.Fatalf("there is no variable %s", name)
	return cty.NilVal
}

// value is what an expression comes to, which may use the folder's locals and the given variables.
func (f folder) value(t *testing.T, expr hclsyntax.Expression, vars, each map[string]cty.Value) cty.Value {
	t.Helper()
	locals := map[string]cty.Value{}
	for _, r := range references(expr) {
		if name, ok := strings.CutPrefix(r, "local."); ok {
			locals[name] = f.value(t, f.locals()[name], vars, nil)
		}
	}
	value, faults := expr.Value(&hcl.EvalContext{
		Variables: map[string]cty.Value{"var": cty.ObjectVal(vars), "local": cty.ObjectVal(locals), "each": cty.ObjectVal(each)},
		Functions: map[string]function.Function{
			"concat": stdlib.ConcatFunc, "floor": stdlib.FloorFunc, "jsonencode": stdlib.JSONEncodeFunc, "keys": stdlib.KeysFunc, "merge": stdlib.MergeFunc, "replace": stdlib.ReplaceFunc,
		},
	})
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return value
}
