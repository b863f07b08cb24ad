package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/tools/txtar"

	"llmgateway.dev/gateway/internal/config"
)

const (
	schemaFile  = "../../docs/config.schema.json"
	exampleFile = "../../docs/gateway.yaml"
)

// schema is as much of JSON Schema (draft 2020-12) as the configuration needs. Editors that know
// only draft 7 read it too.
type schema struct {
	Schema               string             `json:"$schema,omitempty"`
	Title                string             `json:"title,omitempty"`
	Ref                  string             `json:"$ref,omitempty"`
	Description          string             `json:"description,omitempty"`
	Type                 any                `json:"type,omitempty"`
	Enum                 any                `json:"enum,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	MinLength            int                `json:"minLength,omitempty"`
	MaxLength            int                `json:"maxLength,omitempty"`
	Minimum              any                `json:"minimum,omitempty"`
	Maximum              any                `json:"maximum,omitempty"`
	Const                any                `json:"const,omitempty"`
	Default              any                `json:"default,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	MinItems             int                `json:"minItems,omitempty"`
	MaxItems             int                `json:"maxItems,omitempty"`
	UniqueItems          bool               `json:"uniqueItems,omitempty"`
	Properties           properties         `json:"properties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"` // false or *schema
	PropertyNames        *schema            `json:"propertyNames,omitempty"`
	MinProperties        int                `json:"minProperties,omitempty"`
	MaxProperties        int                `json:"maxProperties,omitempty"`
	OneOf                []schema           `json:"oneOf,omitempty"`
	AnyOf                []schema           `json:"anyOf,omitempty"`
	AllOf                []schema           `json:"allOf,omitempty"`
	If                   *schema            `json:"if,omitempty"`
	Then                 *schema            `json:"then,omitempty"`
	Defs                 map[string]*schema `json:"$defs,omitempty"`
}

// properties keep the order of the Go fields, which is the order to read them in.
type properties []property

type property struct {
	name string
	is   any // *schema, or false: must not be given
}

func (ps properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, p := range ps {
		b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&b, "%q:%s", p.name, encode(p.is, ""))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func encode(v any, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

var (
	something  = &schema{MinLength: 1}
	somethings = schema{MinItems: 1, Items: something}
	price      = schema{Minimum: 0, Maximum: 10_000}
	budget     = schema{Minimum: 1e-6, Maximum: 1_000_000}
	scopes     = schema{MinItems: 1, Items: &schema{Pattern: config.Scope}}
)

// rules are what validation wants beyond types, by Go type and field.
//
// The schema is stricter than Load in one thing: an empty value (null, "") is not everywhere the
// same as none.
var rules = map[string]schema{
	"Config":                     {Required: []string{"issuers", "policies", "upstreams"}},
	"Config.Issuers":             {MinItems: 1},
	"Config.Credentials":         {PropertyNames: something},
	"Config.Upstreams":           {PropertyNames: something, MinProperties: 1},
	"Config.Models":              {PropertyNames: something},
	"Issuer":                     {Required: []string{"url", "audiences"}},
	"Issuer.URL":                 {Pattern: config.WebURL},
	"Issuer.Audiences":           {MinItems: 1, Items: something},
	"Issuer.Require":             {AdditionalProperties: something},
	"Issuer.ClientID":            {MinItems: 1, Items: something},
	"Issuer.Claims":              {Items: something},
	"Issuer.Algorithms":          {MinItems: 1, Items: &schema{Enum: config.Algorithms}},
	"Issuer.GroupRules":          {MaxItems: config.MaxGroupRules},
	"GroupRule":                  {Required: []string{"when", "groups"}},
	"GroupRule.When":             {MinProperties: 1, MaxProperties: config.MaxWhen, PropertyNames: &schema{Pattern: config.ClaimPathForm}},
	"GroupRule.Groups":           {MinItems: 1, MaxItems: config.MaxGiven, Items: something},
	"JWKS":                       {MaxProperties: 1},
	"JWKS.URL":                   {Pattern: config.WebURL},
	"Policies":                   {Required: []string{"files"}},
	"Policies.Files":             {MinItems: 1, Items: something},
	"Credential":                 {MinProperties: 1, MaxProperties: 1},
	"ServiceAccountKey":          {Required: []string{"from", "scopes"}},
	"ServiceAccountKey.Scopes":   scopes,
	"GoogleDefault":              {Required: []string{"scopes"}},
	"GoogleDefault.Scopes":       scopes,
	"GoogleDefault.Impersonate":  {Pattern: config.ServiceAccount},
	"ClientCredentials":          {Required: []string{"token_url", "client_id", "client_secret", "scopes"}},
	"ClientCredentials.TokenURL": {Pattern: config.WebURL},
	"ClientCredentials.ClientID": *something,
	"ClientCredentials.Scopes":   scopes,
	"APIKey":                     {Required: []string{"from"}},
	"Source":                     {MinProperties: 1, MaxProperties: 1},
	"Source.SecretManager":       {Pattern: config.SecretVersion},
	"Source.Env":                 {Pattern: config.Variable},
	"Source.File":                *something,
	"Upstream": {Required: []string{"kind"}, AllOf: []schema{
		{
			If:   ofKind(config.OpenAI),
			Then: &schema{AnyOf: []schema{{Required: []string{"base_url"}}, {Required: []string{"credential"}}}},
		},
		{
			If:   ofKind(config.Azure),
			Then: &schema{Required: []string{"base_url", "credential"}},
		},
		{
			If:   ofKind(config.Anthropic, config.Gemini),
			Then: &schema{Required: []string{"credential"}},
		},
		{
			If:   ofKind(config.OpenAI, config.Azure, config.Anthropic, config.Gemini),
			Then: &schema{Properties: properties{{"project", false}, {"location", false}}},
		},
		{
			If:   ofKind(config.Vertex),
			Then: &schema{Required: []string{"project", "location", "credential"}},
		},
	}},
	"Upstream.BaseURL":     {Pattern: config.WebURL},
	"Upstream.Credential":  *something,
	"Upstream.Project":     {Pattern: config.Project},
	"Upstream.Location":    {Pattern: config.Location},
	"Upstream.Usage":       {Default: config.Upstream{}.AsksUsage()},
	"Model":                {Required: []string{"targets"}},
	"Model.Targets":        {MinItems: 1, UniqueItems: true},
	"Target":               {Required: []string{"upstream", "model"}},
	"Target.Upstream":      *something,
	"Target.Model":         *something,
	"Model.OutputEstimate": {Minimum: 1, Maximum: 10_000_000, Default: 1024},
	"Price.Input":          price,
	"Price.CachedInput":    price,
	"Price.Output":         price,
	"Config.Limits":        {MaxItems: config.MaxLimits},
	"Limit": {AnyOf: []schema{
		{Required: []string{"requests_per_minute"}}, {Required: []string{"tokens_per_minute"}}, {Required: []string{"concurrent_requests"}},
		{Required: []string{"usd_per_day"}}, {Required: []string{"usd_per_month"}},
	}, AllOf: []schema{{
		If:   &schema{Properties: properties{{"per", &schema{Const: config.PerGroup}}}, Required: []string{"per"}},
		Then: &schema{Properties: properties{{"groups", &schema{MaxItems: config.MaxShared}}}, Required: []string{"groups"}},
	}}},
	"Limit.Name":               {Pattern: config.LimitName},
	"Limit.Groups":             somethings,
	"Limit.Clients":            {MinItems: 1, Items: &schema{Pattern: "^.+#."}},
	"Limit.Issuers":            somethings,
	"Limit.Models":             somethings,
	"Limit.Operations":         somethings,
	"Limit.RequestsPerMinute":  {Minimum: 1, Maximum: 1_000_000},
	"Limit.TokensPerMinute":    {Minimum: 1, Maximum: 100_000_000},
	"Limit.ConcurrentRequests": {Minimum: 1, Maximum: 100_000},
	"Limit.USDPerDay":          budget,
	"Limit.USDPerMonth":        budget,
	"LimitStore": {OneOf: []schema{{Required: []string{"url"}}, {Required: []string{"url_env"}}}, AllOf: []schema{{
		If:   &schema{Properties: properties{{"url", &schema{Const: config.Memory}}}, Required: []string{"url"}},
		Then: &schema{MaxProperties: 1},
	}}},
	"LimitStore.URL":         {Pattern: config.LimitStoreForm},
	"LimitStore.URLEnv":      {Pattern: config.Variable},
	"LimitStore.Credential":  *something,
	"Certificates":           {MinProperties: 1, MaxProperties: 1},
	"Certificates.File":      *something,
	"Certificates.Env":       {Pattern: config.Variable},
	"Server.URL":             {Pattern: "^$|" + config.WebURL},
	"SecretManager.Endpoint": {Pattern: "^$|" + config.WebURL},
}

func ofKind(kinds ...config.Kind) *schema {
	return &schema{Properties: properties{{"kind", &schema{Enum: kinds}}}, Required: []string{"kind"}}
}

// merge lays the rules over what the type says.
func merge(s *schema, rule schema) {
	to, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(rule)
	for i := range from.NumField() {
		if from.Field(i).IsZero() {
			continue
		}
		inner, _ := from.Field(i).Interface().(*schema)
		if outer, ok := to.Field(i).Interface().(*schema); ok && outer != nil {
			merge(outer, *inner)
			continue
		}
		to.Field(i).Set(from.Field(i))
	}
}

// generator turns Go types into a schema.
type generator struct {
	docs map[string]string
	defs map[string]*schema
	used map[string]bool
}

func generate(t *testing.T) []byte {
	g := generator{docs: comments(t), defs: map[string]*schema{}, used: map[string]bool{}}
	root := *g.structure(reflect.ValueOf(config.Defaults()))
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "LLM gateway configuration"
	root.Defs = g.defs
	for name := range rules {
		if !g.used[name] {
			t.Errorf("the rule for %s meets no field", name)
		}
	}
	return encode(root, "  ")
}

// of is the schema of v's type; v holds the defaults.
func (g *generator) of(v reflect.Value) *schema {
	switch v.Interface().(type) {
	case time.Duration:
		return &schema{Type: "string", Pattern: config.DurationForm}
	case config.Bytes:
		return &schema{Type: []string{"string", "integer"}, Pattern: config.SizeForm, Minimum: 1}
	case config.Names:
		name := schema{Type: "string", MinLength: 1}
		return &schema{OneOf: []schema{name, {Type: "array", Items: &name, UniqueItems: true}}}
	case config.LimitStore:
		name := v.Type().Name()
		if g.defs[name] == nil {
			g.defs[name] = g.structure(reflect.Zero(v.Type()))
		}
		return &schema{OneOf: []schema{{Type: "string", Pattern: config.LimitStoreForm}, {Ref: "#/$defs/" + name}}}
	case config.Per:
		return &schema{Type: "string", Enum: config.Pers}
	case config.OnStoreFailure:
		return &schema{Type: "string", Enum: config.StoreFailures}
	case config.ClaimPath:
		return &schema{Type: "string", Description: g.docs["ClaimPath"], Pattern: config.ClaimPathForm}
	case config.Pattern:
		return &schema{Type: "string", Description: g.docs["Pattern"], Pattern: config.PatternForm, MaxLength: config.MaxPattern}
	case config.Kind:
		return &schema{Type: "string", Enum: config.Kinds}
	case config.Mode:
		return &schema{Type: "string", Enum: config.Modes}
	}
	elem := func() reflect.Value {
		if v.Kind() == reflect.Slice && v.Len() > 0 {
			return v.Index(0)
		}
		return reflect.Zero(v.Type().Elem())
	}
	switch v.Kind() {
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Pointer:
		return g.of(elem())
	case reflect.Slice:
		return &schema{Type: "array", Items: g.of(elem())}
	case reflect.Map:
		return &schema{Type: "object", AdditionalProperties: g.of(elem())}
	case reflect.Struct:
		name := v.Type().Name()
		if g.defs[name] == nil {
			g.defs[name] = g.structure(v)
		}
		return &schema{Ref: "#/$defs/" + name}
	}
	panic("no schema for " + v.Type().String())
}

func (g *generator) structure(v reflect.Value) *schema {
	name := v.Type().Name()
	s := &schema{Type: "object", Description: g.docs[name], AdditionalProperties: false}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := f.Tag.Get("yaml")
		if key == "-" {
			continue
		}
		id := name + "." + f.Name
		p := g.of(v.Field(i))
		p.Description = g.docs[id]
		if rest, found := strings.CutPrefix(p.Description, f.Name); found {
			p.Description = key + rest
		}
		if !v.Field(i).IsZero() && p.Ref == "" && f.Type != reflect.TypeFor[[]config.Issuer]() && f.Type != reflect.TypeFor[[]config.Limit]() {
			p.Default = written(v.Field(i).Interface())
		}
		merge(p, rules[id])
		g.used[id] = true
		s.Properties = append(s.Properties, property{key, p})
	}
	merge(s, rules[name])
	g.used[name] = true
	return s
}

// written is a default as one writes it: 24h rather than 24h0m0s.
func written(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return strings.TrimSuffix(strings.TrimSuffix(v.String(), "0s"), "0m")
	case config.Bytes:
		return v.String()
	case config.LimitStore:
		return v.URL
	}
	return v
}

// comments are the doc comments of the package's types and their fields.
func comments(t *testing.T) map[string]string {
	docs := map[string]string{}
	text := func(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		d, ok := d.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			continue
		}
		spec := d.Specs[0].(*ast.TypeSpec)
		docs[spec.Name.Name] = text(d.Doc)
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				docs[spec.Name.Name+"."+f.Names[0].Name] = text(f.Doc)
			}
		}
	}
	return docs
}

func TestSchemaIsGeneratedFromTheCode(t *testing.T) {
	want := generate(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is out of date; go test ./internal/config -update (-want +got):\n%s", schemaFile, diff)
	}
}

// compiled is the committed schema; compiling checks it against the schema of schemas.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read gives a document as JSON Schema sees it.
func read(t *testing.T, doc []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func examples(t *testing.T) map[string][]byte {
	t.Helper()
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := txtar.ParseFile("testdata/whole.txtar")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{exampleFile: example, "testdata/whole.txtar": whole.Files[0].Data}
}

func TestExampleHasNoFault(t *testing.T) {
	c, faults := config.Load(exampleFile)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, file := range c.Policies.Files {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	doc := string(examples(t)[exampleFile])
	if first, _, _ := strings.Cut(doc, "\n"); first != "# yaml-language-server: $schema="+filepath.Base(schemaFile) {
		t.Errorf("editors find no schema in the first line, %q", first)
	}
}

func TestEveryFieldIsInTheSchemaAndInTheExample(t *testing.T) {
	example := string(examples(t)[exampleFile])
	var document struct {
		def
		Defs map[string]def `json:"$defs"`
	}
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			if seen[typ] {
				return
			}
			seen[typ] = true
			d, ok := document.Defs[typ.Name()]
			if typ == reflect.TypeFor[config.Config]() {
				d, ok = document.def, true
			}
			if !ok || d.AdditionalProperties == nil || *d.AdditionalProperties {
				t.Errorf("%s: no schema, or one that lets unknown keys in", typ)
			}
			for i := range typ.NumField() {
				f := typ.Field(i)
				key := f.Tag.Get("yaml")
				if key == "-" {
					continue
				}
				if d.Properties[key].Description == "" {
					t.Errorf("%s.%s: %s is not in the schema, or has no comment to describe it", typ, f.Name, key)
				}
				if !regexp.MustCompile(`\b` + key + `:`).MatchString(example) {
					t.Errorf("%s.%s: the example shows no %s", typ, f.Name, key)
				}
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[config.Config]())
}

type def struct {
	Properties           map[string]struct{ Description string }
	AdditionalProperties *bool
}

func TestSchemaAcceptsTheExamples(t *testing.T) {
	s := compiled(t)
	for name, doc := range examples(t) {
		if err := s.Validate(read(t, doc)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefusesWhatLoadRefuses(t *testing.T) {
	s := compiled(t)
	example := string(examples(t)[exampleFile])
	for _, row := range []struct{ name, old, new string }{
		{"unknown key", "audiences:", "audience:"},
		{"unknown section", "\nserver:", "\nservers:"},
		{"unknown kind", "kind: vertex", "kind: vertx"},
		{"unknown mode", "mode: enforce", "mode: dry-run"},
		{"HMAC", "[RS256, ES256]", "[RS256, HS256]"},
		{"no signature", "[RS256, ES256]", "[none]"},
		{"no algorithm", "[RS256, ES256]", "[]"},
		{"no audience", "[llm-gateway]", "[]"},
		{"audience not a list", "[llm-gateway]", "llm-gateway"},
		{"empty audience", "[llm-gateway]", `[""]`},
		{"claim that is no string", "require: {}", "require: {id: 1}"},
		{"claim required to be empty", "require: {}", `require: {id: ""}`},
		{"broken JSON Pointer", "/realm_access/roles", "/realm~access"},
		{"rule for everybody", "{repository: \"acme/*\", environment: production}", "{}"},
		{"rule without when", "- when: {repository: \"acme/*\", environment: production}\n        groups", "- groups"},
		{"rule that gives nothing", "groups: [ci-production]", "groups: []"},
		{"rule without groups", "        groups: [ci-production] # gh:ci-production in policies\n", ""},
		{"rule that gives a group without a name", "groups: [ci-production]", `groups: [""]`},
		{"pattern of nothing", `"acme/*"`, `""`},
		{"pattern of three stars", `"acme/*"`, `"acme/***"`},
		{"pattern without end", `"acme/*"`, strings.Repeat("a", config.MaxPattern+1)},
		{"pattern that is no string", "environment: production}", "environment: true}"},
		{"pattern of a claim that is no JSON Pointer", "when: {repository:", `when: {"/a~b":`},
		{"key set in two places", "jwks: {}", "jwks: {url: https://id.example.com/keys, file: keys.json}"},
		{"issuer without a scheme", "url: https://keycloak.example.com", "url: keycloak.example.com"},
		{"duration without a unit", "clock_skew: 30s", "clock_skew: 30"},
		{"duration in days", "max_token_lifetime: 24h", "max_token_lifetime: 1d"},
		{"negative duration", "refresh: 5m", "refresh: -5m"},
		{"size in another unit", "32MiB", "32MB"},
		{"size of nothing", "32MiB", "0"},
		{"no policy file", "[gateway.cedar]", "[]"},
		{"two credentials in one", "    api_key:\n", "    google_default: {scopes: [a]}\n    api_key:\n"},
		{"no credential", "    api_key:\n      from: {secret_manager: projects/acme/secrets/openai/versions/latest}", "    {}"},
		{"two sources", "{secret_manager: projects/acme/secrets/openai/versions/latest}", "{env: A, file: b}"},
		{"no source", "{secret_manager: projects/acme/secrets/openai/versions/latest}", "{}"},
		{"secret without a version", "secrets/openai/versions/latest", "secrets/openai"},
		{"two scopes in one", "[https://www.googleapis.com/auth/cloud-platform]", `["a b"]`},
		{"impersonating a person", "# impersonate: vertex@acme.iam.gserviceaccount.com", "impersonate: me@acme.com"},
		{"impersonating a path", "# impersonate: vertex@acme.iam.gserviceaccount.com", "impersonate: a/b@acme.iam.gserviceaccount.com"},
		{"client credentials without a token endpoint", "      token_url: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token\n", ""},
		{"client without an id", "client_id: 00000000-0000-0000-0000-000000000000", `client_id: ""`},
		{"client secret in the file", "client_secret: {secret_manager: projects/acme/secrets/entra/versions/latest}", "client_secret: x"},
		{"client credentials without a scope", "[https://cognitiveservices.azure.com/.default]", "[]"},
		{"project for openai", "kind: openai,", "kind: openai, project: acme,"},
		{"location for azure", "kind: azure,", "kind: azure, location: westeurope,"},
		{"project for anthropic", "kind: anthropic,", "kind: anthropic, project: acme,"},
		{"project for gemini", "kind: gemini,", "kind: gemini, project: acme,"},
		{"azure without a resource", "base_url: https://acme.openai.azure.com/openai/v1, ", ""},
		{"azure without a credential", ", credential: azure}", "}"},
		{"anthropic without a key", ", credential: anthropic}", "}"},
		{"gemini without a key", ", credential: gemini}", "}"},
		{"vertex without a location", "location: europe-west4, ", ""},
		{"vertex without a credential", ", credential: vertex}", "}"},
		{"openai without a key", "base_url: https://api.openai.com/v1, credential: openai}", "}"},
		{"model without targets", "[{upstream: openai, model: gpt-4-turbo-2024-04-09}]", "[]"},
		{"target twice", "[{upstream: openai, model: gpt-4-turbo-2024-04-09}]", "[{upstream: openai, model: m}, {upstream: openai, model: m}]"},
		{"target without a model", "{upstream: openai, model: gpt-4-turbo-2024-04-09}", "{upstream: openai}"},
		{"model that is a number", "model: gpt-4-turbo-2024-04-09", "model: 4"},
		{"negative price", "input: 10", "input: -10"},
		{"negative price of what is cached", "cached_input: 5", "cached_input: -5"},
		{"limit of nothing", "requests_per_minute: 600", "requests_per_minute: 0"},
		{"limit below zero", "tokens_per_minute: 200000", "tokens_per_minute: -1"},
		{"absurd limit", "concurrent_requests: 50", "concurrent_requests: 1000000000"},
		{"half a request", "requests_per_minute: 600", "requests_per_minute: 0.5"},
		{"budget below zero", "usd_per_day: 50", "usd_per_day: -50"},
		{"absurd budget", "usd_per_month: 1000", "usd_per_month: 1e9"},
		{"counting for nobody", "per: client", "per: user"},
		{"a group's count without groups", "  - name: everybody\n", "  - name: everybody\n    per: group\n"},
		{"limit that bounds nothing", "  - name: everybody\n    requests_per_minute: 6000\n", "  - name: everybody\n"},
		{"client without an issuer", "my-realm#data-pipeline", "my-realm"},
		{"list of no models", "models: [\"*\"]", "models: []"},
		{"name with a space", "name: everybody", "name: every body"},
		{"unknown fallback", "on_store_failure: deny", "on_store_failure: ask"},
		{"store that is no Redis", "url: redis://10.0.0.3:6379 #", "url: memcached://10.0.0.3 #"},
		{"certificates in two places", "ca: {file: redis.pem}", "ca: {file: redis.pem, env: CA}"},
		{"estimate of nothing", "output_estimate: 1024", "output_estimate: 0"},
		{"default upstream twice", "default_upstream: openai", "default_upstream: [openai, openai]"},
		{"default upstream that is a mapping", "default_upstream: openai", "default_upstream: {a: b}"},
	} {
		doc := strings.Replace(example, row.old, row.new, 1)
		if doc == example {
			t.Errorf("%s: the example has no %q", row.name, row.old)
			continue
		}
		if _, faults := config.Parse("gateway.yaml", []byte(doc)); len(faults) == 0 {
			t.Errorf("%s: Load accepts it", row.name)
		}
		if s.Validate(read(t, []byte(doc))) == nil {
			t.Errorf("%s: the schema accepts it", row.name)
		}
	}
}

// beyond are the faults that no schema finds: they compare what stands in two places, or are about
// a quantity that is written with a unit.
var beyond = regexp.MustCompile(`is called|has this name|is plain http|is configured twice|as it is at issuers|the group_prefix of issuers|is not between|is less than max_body|is zero|has no price|is the name of another|matches exactly|is a budget in memory|has a path that|is not a time zone`)

// The whole example is changed in one place in every way there is, and both must say the same.
func TestSchemaAndLoadAgree(t *testing.T) {
	s := compiled(t)
	n := 0
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	edits(read(t, examples(t)["testdata/whole.txtar"]), "", func(what string, edited any, empty bool) {
		n++
		all.Go(func() error {
			doc, err := json.Marshal(edited) // JSON is YAML
			if err != nil {
				return err
			}
			_, faults := config.Parse("gateway.yaml", doc)
			refused := s.Validate(edited)
			switch {
			case len(faults) == 0 && refused != nil && !empty:
				t.Errorf("%s: only the schema refuses it: %v", what, refused)
			case slices.ContainsFunc(faults, func(f config.Fault) bool { return !beyond.MatchString(f.Message) }) && refused == nil:
				t.Errorf("%s: only Load refuses it: %v", what, faults)
			}
			return nil
		})
	})
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	if n < 1000 {
		t.Errorf("only %d edits", n)
	}
}

// edits yields v with one thing removed, added or put in another's place.
func edits(v any, path string, yield func(what string, v any, empty bool)) {
	for _, other := range []any{nil, "", "two words", "/~", -1, 0.5, true, []any{}, []any{"x"}, map[string]any{}} {
		yield(fmt.Sprintf("%s: %#v", path, other), other, other == nil || other == "")
	}
	switch v := v.(type) {
	case map[string]any:
		with := func(key string, value any) map[string]any {
			c := maps.Clone(v)
			c[key] = value
			return c
		}
		for key, value := range v {
			without := maps.Clone(v)
			delete(without, key)
			yield(path+": without "+key, without, false)
			edits(value, path+"."+key, func(what string, value any, empty bool) { yield(what, with(key, value), empty) })
		}
		yield(path+": with an unknown key", with("unknown", "x"), false)
	case []any:
		for i, value := range v {
			yield(fmt.Sprintf("%s: without [%d]", path, i), slices.Delete(slices.Clone(v), i, i+1), false)
			edits(value, fmt.Sprintf("%s[%d]", path, i), func(what string, value any, empty bool) {
				c := slices.Clone(v)
				c[i] = value
				yield(what, c, empty)
			})
		}
		if len(v) > 0 {
			yield(path+": with the first twice", append(slices.Clone(v), v[0]), false)
		}
	}
}
