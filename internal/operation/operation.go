// Package operation says what a request asks for: which operation, on which model, streamed or
// not. It is the one table of routes and the one reader of bodies; policies, targets and limits all
// act on the Request it returns, and what is sent upstream is built from that Request, so that the
// gateway and an upstream can't read one request in two ways.
//
// Reading is strict (RFC 8259 read as RFC 7493): a repeated name at any depth, a name that differs
// from one we act on only in case, invalid UTF-8, a lone surrogate, trailing data and a value of the
// wrong type are refused, never guessed at.
package operation

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/apierror"
)

// Name is an operation by the provider SDK's own method name: chat.completions.create.
type Name string

// Group is a set of operations that policies can name as one.
type Group string

// The groups that exist.
const (
	Inference  Group = "inference"
	Files      Group = "files"
	Batches    Group = "batches"
	FineTuning Group = "fine_tuning"
)

// Groups lists all groups.
func Groups() []Group { return []Group{Inference, Files, Batches, FineTuning} }

// Operation is one row of the table: a method and a path, and what they mean.
type Operation struct {
	Name   Name
	Method string
	// Path is matched segment by segment: {id}, {project} and {location} are a segment of id
	// characters, {model}:verb is a model and what is asked of it, {model...} the percent-decoded rest.
	Path    string
	Dialect apierror.Dialect
	// Group is "" for the lists, which need no permit and are answered here.
	Group Group
	Body  Body
	// Fields are the body's fields that are acted on; all others pass as they are.
	Fields *Fields
	// Query names the query parameters that are passed on; any other is refused, and so is one that
	// comes twice. Those that end in [] are lists or maps: include[]=a&include[]=b, metadata[key]=value.
	Query []string
	// Effects says that a call may change something upstream even when its answer is lost, so that
	// it is sent again only where it can't have: after a 401.
	Effects bool
}

// Body is the form of an operation's body.
type Body int

const (
	// NoBody: one that is sent all the same is refused.
	NoBody Body = iota
	// JSON is an object (RFC 8259).
	JSON
	// Multipart is multipart/form-data (RFC 7578).
	Multipart
)

// NeedsModel reports whether a request of the operation must name a model.
func (o *Operation) NeedsModel() bool {
	return o.modelInPath() || o.Fields != nil && o.Fields.members["model"] != nil
}

// modelInPath reports whether the operation's model is the path's.
func (o *Operation) modelInPath() bool { return strings.Contains(o.Path, "{model}") }

// CanStream reports whether a request of the operation may ask for a stream, by its body or its path.
func (o *Operation) CanStream() bool {
	return strings.HasSuffix(o.Path, ":"+streamVerb) || o.Fields.holds(streamFlag)
}

// CanBound reports whether a request of the operation may bound its output.
func (o *Operation) CanBound() bool { return o.Fields.holds(maxOutputTokens) }

// IsList reports whether the operation only shows which models are allowed.
func (o *Operation) IsList() bool { return o.Group == "" }

var paging = []string{"after", "limit"}

// table is every route but the gateway's own. A row is all that an operation needs to exist.
var table = []*Operation{
	{Name: "chat.completions.create", Method: "POST", Path: "/v1/chat/completions", Group: Inference, Body: JSON, Fields: chatFields},
	{Name: "completions.create", Method: "POST", Path: "/v1/completions", Group: Inference, Body: JSON, Fields: completionFields},
	{Name: "embeddings.create", Method: "POST", Path: "/v1/embeddings", Group: Inference, Body: JSON, Fields: modelFields},
	{Name: "moderations.create", Method: "POST", Path: "/v1/moderations", Group: Inference, Body: JSON, Fields: modelFields},

	{Name: "images.generate", Method: "POST", Path: "/v1/images/generations", Group: Inference, Body: JSON, Fields: imageFields},
	{Name: "images.edit", Method: "POST", Path: "/v1/images/edits", Group: Inference, Body: Multipart, Fields: formFields},
	{Name: "images.create_variation", Method: "POST", Path: "/v1/images/variations", Group: Inference, Body: Multipart, Fields: formFields},

	{Name: "audio.speech.create", Method: "POST", Path: "/v1/audio/speech", Group: Inference, Body: JSON, Fields: modelFields},
	{Name: "audio.transcriptions.create", Method: "POST", Path: "/v1/audio/transcriptions", Group: Inference, Body: Multipart, Fields: formFields},
	{Name: "audio.translations.create", Method: "POST", Path: "/v1/audio/translations", Group: Inference, Body: Multipart, Fields: formFields},

	// A response is stored, and may be made in the background: both are effects.
	{Name: "responses.create", Method: "POST", Path: "/v1/responses", Group: Inference, Body: JSON, Fields: responseFields, Effects: true},
	{Name: "responses.input_tokens.count", Method: "POST", Path: "/v1/responses/input_tokens", Group: Inference, Body: JSON, Fields: responseFields},
	{Name: "responses.compact", Method: "POST", Path: "/v1/responses/compact", Group: Inference, Body: JSON, Fields: responseFields},
	{Name: "responses.retrieve", Method: "GET", Path: "/v1/responses/{id}", Group: Inference, Query: []string{"include[]", "include_obfuscation", "starting_after", "stream"}},
	{Name: "responses.delete", Method: "DELETE", Path: "/v1/responses/{id}", Group: Inference, Effects: true},
	{Name: "responses.cancel", Method: "POST", Path: "/v1/responses/{id}/cancel", Group: Inference, Effects: true},
	{Name: "responses.input_items.list", Method: "GET", Path: "/v1/responses/{id}/input_items", Group: Inference, Query: append([]string{"include[]", "order"}, paging...)},

	{Name: "files.create", Method: "POST", Path: "/v1/files", Group: Files, Body: Multipart, Fields: fileFields, Effects: true},
	{Name: "files.list", Method: "GET", Path: "/v1/files", Group: Files, Query: append([]string{"order", "purpose"}, paging...)},
	{Name: "files.retrieve", Method: "GET", Path: "/v1/files/{id}", Group: Files},
	{Name: "files.delete", Method: "DELETE", Path: "/v1/files/{id}", Group: Files, Effects: true},
	{Name: "files.content", Method: "GET", Path: "/v1/files/{id}/content", Group: Files},
	{Name: "uploads.create", Method: "POST", Path: "/v1/uploads", Group: Files, Body: JSON, Fields: uploadFields, Effects: true},
	{Name: "uploads.parts.create", Method: "POST", Path: "/v1/uploads/{id}/parts", Group: Files, Body: Multipart, Effects: true},
	{Name: "uploads.complete", Method: "POST", Path: "/v1/uploads/{id}/complete", Group: Files, Body: JSON, Effects: true},
	{Name: "uploads.cancel", Method: "POST", Path: "/v1/uploads/{id}/cancel", Group: Files, Effects: true},

	{Name: "batches.create", Method: "POST", Path: "/v1/batches", Group: Batches, Body: JSON, Effects: true},
	{Name: "batches.list", Method: "GET", Path: "/v1/batches", Group: Batches, Query: paging},
	{Name: "batches.retrieve", Method: "GET", Path: "/v1/batches/{id}", Group: Batches},
	{Name: "batches.cancel", Method: "POST", Path: "/v1/batches/{id}/cancel", Group: Batches, Effects: true},

	{Name: "fine_tuning.jobs.create", Method: "POST", Path: "/v1/fine_tuning/jobs", Group: FineTuning, Body: JSON, Fields: fineTuningFields, Effects: true},
	{Name: "fine_tuning.jobs.list", Method: "GET", Path: "/v1/fine_tuning/jobs", Group: FineTuning, Query: append([]string{"metadata[]"}, paging...)},
	{Name: "fine_tuning.jobs.retrieve", Method: "GET", Path: "/v1/fine_tuning/jobs/{id}", Group: FineTuning},
	{Name: "fine_tuning.jobs.cancel", Method: "POST", Path: "/v1/fine_tuning/jobs/{id}/cancel", Group: FineTuning, Effects: true},
	{Name: "fine_tuning.jobs.pause", Method: "POST", Path: "/v1/fine_tuning/jobs/{id}/pause", Group: FineTuning, Effects: true},
	{Name: "fine_tuning.jobs.resume", Method: "POST", Path: "/v1/fine_tuning/jobs/{id}/resume", Group: FineTuning, Effects: true},
	{Name: "fine_tuning.jobs.list_events", Method: "GET", Path: "/v1/fine_tuning/jobs/{id}/events", Group: FineTuning, Query: paging},
	{Name: "fine_tuning.jobs.checkpoints.list", Method: "GET", Path: "/v1/fine_tuning/jobs/{id}/checkpoints", Group: FineTuning, Query: paging},

	{Name: "models.list", Method: "GET", Path: "/v1/models"},
	{Name: "models.retrieve", Method: "GET", Path: "/v1/models/{model...}"},

	{Name: "messages.create", Method: "POST", Path: "/v1/messages", Dialect: apierror.Anthropic, Group: Inference, Body: JSON, Fields: messageFields, Query: []string{"beta"}},
	{Name: "messages.count_tokens", Method: "POST", Path: "/v1/messages/count_tokens", Dialect: apierror.Anthropic, Group: Inference, Body: JSON, Fields: messageFields, Query: []string{"beta"}},
}

// The Gemini API and Vertex AI have the same operations under several paths
// (ai.google.dev/api, cloud.google.com/vertex-ai/docs/reference/rest).
func init() {
	gemini := []string{"/v1beta/models/{model}:", "/v1/models/{model}:"}
	const publisher = "/projects/{project}/locations/{location}/publishers/google/models/{model}:"
	vertex := []string{"/v1beta1" + publisher, "/v1" + publisher}
	for _, row := range []struct {
		verb  string
		name  Name
		paths []string
	}{
		{"generateContent", "models.generate_content", append(gemini, vertex...)},
		{streamVerb, "models.generate_content", append(gemini, vertex...)},
		{"countTokens", "models.count_tokens", append(gemini, vertex...)},
		{"embedContent", "models.embed_content", append(gemini, vertex...)},
		{"batchEmbedContents", "models.embed_content", append(gemini, vertex...)},
		{"predict", "models.predict", append(gemini, vertex...)},
	} {
		for _, path := range row.paths {
			op := &Operation{Name: row.name, Method: "POST", Path: path + row.verb, Dialect: apierror.Google, Group: Inference, Body: JSON, Fields: contentFields}
			if row.verb == streamVerb {
				op.Query = []string{"alt"}
			}
			table = append(table, op)
		}
	}
	for _, op := range table {
		if !op.IsList() && Named(op.Name) == op {
			decided = append(decided, op)
		}
	}
}

// streamVerb is the one that asks for a stream: of events with alt=sse, else of a JSON array's elements.
const streamVerb = "streamGenerateContent"

// All lists the table's rows. They must not be changed.
func All() []*Operation { return table }

var decided []*Operation

// Decided lists the first row of each operation that policies decide and limits bound: of all but the lists.
// They must not be changed.
func Decided() []*Operation { return decided }

// Named is the first row of an operation, or nil where there is no such operation.
func Named(name Name) *Operation {
	for _, op := range table {
		if op.Name == name {
			return op
		}
	}
	return nil
}

// Suppose is a request of the operation that nobody sent, for people who ask what would be decided. It
// can't be sent: it has no body. model is the one it names, where its operation names one.
func Suppose(op *Operation, model string, ask Ask) *Request {
	ask.Models = nil
	if op.NeedsModel() {
		ask.Models = []ModelRef{{Name: model}}
	}
	return &Request{Route: Route{Operation: op, Dialect: op.Dialect}, Ask: ask}
}

// Route is a matched row with what its path held.
type Route struct {
	*Operation
	// Path is the path to send: the decided segments, put together again.
	Path string
	// Query is the query to send, re-encoded from the parameters that were read.
	Query string
	// Model is the model of the path, where the row has one; Verb what is asked of it.
	Model, Verb string
	// Project and Location are those of a Vertex AI path.
	Project, Location string
	// Version is Anthropic's, a date, where the client says it (docs.anthropic.com/en/api/versioning).
	Version string
	// Dialect is that of the answer: the row's, but for lists, which Anthropic's SDKs ask for under OpenAI's
	// path.
	Dialect apierror.Dialect
	// ContentType is the body's, to send; ReadHead sets it.
	ContentType string

	boundary string
}

var versionForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)

// Dialect is the dialect in which to answer a request whatever becomes of it: its path's, OpenAI where
// no row has the path.
func Dialect(r *http.Request) apierror.Dialect {
	for _, op := range table {
		if route := (Route{Operation: op}); route.matchPath(r.URL.EscapedPath()) {
			return dialect(op, r.Header)
		}
	}
	return apierror.OpenAI
}

// dialect knows Anthropic's SDKs by the header that they always send
// (docs.anthropic.com/en/api/versioning).
func dialect(op *Operation, h http.Header) apierror.Dialect {
	if op.IsList() && h.Get("Anthropic-Version") != "" {
		return apierror.Anthropic
	}
	return op.Dialect
}

// Match finds the row of a request.
func Match(r *http.Request) (Route, error) {
	path := r.URL.EscapedPath()
	var methods []string
	for _, op := range table {
		route := Route{Operation: op}
		if !route.matchPath(path) {
			continue
		}
		if op.Method != r.Method {
			methods = append(methods, op.Method)
			continue
		}
		route.Dialect = dialect(op, r.Header)
		if route.Dialect == apierror.Anthropic {
			route.Version = r.Header.Get("Anthropic-Version")
			if v := r.Header["Anthropic-Version"]; len(v) > 1 || route.Version != "" && !versionForm.MatchString(route.Version) {
				return Route{}, apierror.New(apierror.InvalidRequest, "the header anthropic-version must be one date, such as 2023-06-01")
			}
		}
		return route, route.readQuery(r.URL)
	}
	if methods != nil {
		slices.Sort(methods)
		return Route{}, apierror.WrongMethod(methods...)
	}
	return Route{}, apierror.New(apierror.NotFound, "there is no such path; base URLs end in /v1")
}

// matchPath compares the path as it was sent, escapes included: an escaped slash or dot is not a
// slash or dot here, so it can't be one to an upstream either.
func (r *Route) matchPath(path string) bool {
	pattern := r.Operation.Path
	if prefix, ok := strings.CutSuffix(pattern, "{model...}"); ok {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok || rest == "" {
			return false
		}
		model, err := url.PathUnescape(rest)
		r.Path, r.Model = path, model
		return err == nil
	}
	for left, rest, more, also := pattern, path, true, true; more || also; {
		var want, got string
		want, left, more = strings.Cut(left, "/")
		got, rest, also = strings.Cut(rest, "/")
		name, verb, variable := strings.Cut(strings.TrimPrefix(want, "{"), "}")
		if more != also || !variable && want != got {
			return false
		}
		if !variable {
			continue
		}
		value, asked, _ := strings.Cut(got, ":")
		if name != "model" {
			value, asked = got, ""
		} else if verb != ":"+asked {
			return false
		}
		if !isID(value) {
			return false
		}
		switch name {
		case "model":
			r.Model, r.Verb = value, asked
		case "project":
			r.Project = value
		case "location":
			r.Location = value
		}
	}
	r.Path = path
	return true
}

// isID accepts the ids that providers give to stored objects (ftjob-abc123, file_1, ft:gpt-4o:acme::id) and
// to models (claude-sonnet-4@20250514): unreserved characters, colon and at, with no path meaning.
func isID(s string) bool {
	if s == "" || len(s) > 256 || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.:@", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func (r *Route) readQuery(u *url.URL) error {
	if u.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return apierror.New(apierror.InvalidRequest, "the query string is malformed; percent-encode it and separate parameters by an ampersand")
	}
	for name, values := range query {
		base, _, _ := strings.Cut(name, "[")
		several := slices.Contains(r.Operation.Query, base+"[]")
		if !several && !slices.Contains(r.Operation.Query, name) {
			return apierror.New(apierror.InvalidRequest, "this operation takes no such query parameter; remove it")
		}
		if len(values) > 1 && !(several && name == base+"[]") {
			return apierror.New(apierror.InvalidRequest, "the query parameter %s is given twice; keep one", base).At(base)
		}
		if name == "alt" && values[0] != "sse" {
			return apierror.New(apierror.InvalidRequest, "alt must be sse; without it a stream is a JSON array").At(base)
		}
	}
	r.Query = query.Encode()
	return nil
}
