package policy

import (
	_ "embed"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// The entity types of schema.cedarschema, and the attribute that changes by itself.
const (
	clientType   types.EntityType = "Client"
	groupType    types.EntityType = "Group"
	modelType    types.EntityType = "Model"
	upstreamType types.EntityType = "Upstream"
	actionType   types.EntityType = "Action"

	timeAttribute = "time"
)

//go:embed schema.cedarschema
var declared []byte

// newSchema adds the operations and the configured claims to what is declared. It panics where they
// don't fit together, which nothing that a configuration holds can bring about.
func newSchema(c *config.Config) *resolved.Schema {
	var s schema.Schema
	s.SetFilename("schema.cedarschema")
	if err := s.UnmarshalCedar(declared); err != nil {
		panic("policy: " + err.Error())
	}
	claims := ast.RecordType{}
	for _, issuer := range c.Issuers {
		for _, name := range issuer.Claims {
			claims[types.String(name)] = ast.Attribute{Type: ast.String(), Optional: true}
		}
	}
	s.AST().CommonTypes["Claims"] = ast.CommonType{Type: claims}

	actions := ast.Actions{}
	for _, group := range operation.Groups() {
		// A group that has no operation yet may be named all the same.
		actions[types.String(group)] = ast.Action{AppliesTo: appliesTo(modelType, upstreamType)}
	}
	for _, op := range operation.Decided() {
		resource := upstreamType
		if op.NeedsModel() {
			resource = modelType
		}
		actions[types.String(op.Name)] = ast.Action{
			Parents:   []ast.ParentRef{ast.ParentRefFromID(types.String(op.Group))},
			AppliesTo: appliesTo(resource),
		}
		actions[types.String(op.Group)] = ast.Action{} // applies through its operations
	}
	s.AST().Actions = actions
	r, err := s.Resolve()
	if err != nil {
		panic("policy: " + err.Error())
	}
	return r
}

func appliesTo(resources ...types.EntityType) *ast.AppliesTo {
	a := &ast.AppliesTo{Principals: []ast.EntityTypeRef{ast.EntityTypeRef(clientType)}, Context: ast.Type("Context")}
	for _, r := range resources {
		a.Resources = append(a.Resources, ast.EntityTypeRef(r))
	}
	return a
}
