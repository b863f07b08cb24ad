package function_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	fuzzed = `
upstreams:
  first: {kind: openai, base_url: $FIRST, credential: vertex}
  second: {kind: openai, base_url: $SECOND, credential: vertex}
models:
  small: {targets: [{upstream: first, model: small-1}]}
  large: {targets: [{upstream: second, model: large-2}, {upstream: first, model: large-1}]}
  spare: {targets: [{upstream: second, model: spare-2}]}
default_upstream: [first]
`
	fuzzedPolicy = `
@id("small") permit (principal in Group::"small", action in Action::"inference", resource == Model::"small");
@id("large") permit (principal in Group::"large", action in Action::"inference", resource == Model::"large") unless { context.stream };
@id("spare") permit (principal in Group::"spare", action == Action::"chat.completions.create", resource == Model::"spare");
@id("files") permit (principal in Group::"files", action in Action::"files", resource);
@id("short") forbid (principal in Group::"short", action in Action::"inference", resource) unless { context has max_output_tokens && context.max_output_tokens <= 100 };
@id("home") forbid (principal in Group::"home", action, resource in Upstream::"second");
@id("out") forbid (principal in Group::"out", action, resource);
`
)

// allows is the policy above, by somebody who has never heard of Cedar.
func allows(groups []string, group, operation, model, upstream string, stream bool, most int) bool {
	in := func(g string) bool { return slices.Contains(groups, g) }
	switch {
	case in("out"), in("home") && upstream == "second", group == "inference" && in("short") && (most < 0 || most > 100):
		return false
	case group == "files":
		return in("files")
	}
	return model == "small" && in("small") || model == "large" && in("large") && !stream || model == "spare" && in("spare") && operation == "chat.completions.create"
}

// names are what the models are called upstream, in the order in which upstreams are tried.
var names = map[string][][2]string{
	"small": {{"first", "small-1"}}, "large": {{"second", "large-2"}, {"first", "large-1"}}, "spare": {{"second", "spare-2"}},
}

// asked is a request that a client could make, and what the oracle says of it.
type asked struct {
	*http.Request
	// refusals are the statuses of all that is wrong with it; any of them will do. Without one it is served.
	refusals []int
	// upstream gets method, path and body, where it is served there.
	upstream, method, path string
	body                   map[string]any
	// listed are the models that a list must show, where it asks for one.
	listed []string
}

// dice are the bytes that the fuzzer chose; when they are used up, all is as it should be.
type dice []byte

func (d *dice) of(n int) int {
	if len(*d) == 0 {
		return 0
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return int(b) % n
}

// oneIn says yes to every n-th byte or so.
func (d *dice) oneIn(n int) bool { return d.of(n) == n-1 }

// ask makes a request.
func (s *scene) ask(d *dice) *asked {
	a := &asked{}
	wrong := func(statuses ...int) { a.refusals = append(a.refusals, statuses...) }

	var groups []string
	for _, g := range []string{"small", "large", "spare", "files", "short", "home", "out"} {
		if g == "out" && d.oneIn(8) || g != "out" && d.oneIn(2) {
			groups = append(groups, g)
		}
	}
	claims := s.issuer.Claims("any")
	claims["groups"] = append([]string{"OUT", "small ", "Files"}, groups...) // near misses are nothing
	header := http.Header{"User-Agent": {"fuzz"}}
	bearer := func(token string) { header.Set("Authorization", "Bearer "+token) }
	switch d.of(24) {
	case 23:
		wrong(401)
	case 22:
		claims["aud"] = "another"
		bearer(s.issuer.Sign(nil, claims))
		wrong(401)
	case 21:
		claims["exp"], claims["iat"] = time.Now().Add(-time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix()
		bearer(s.issuer.Sign(nil, claims))
		wrong(401)
	case 20:
		token := s.issuer.Sign(nil, claims)
		bearer(token[:len(token)-8] + "AAAAAAAA")
		wrong(401)
	case 19:
		bearer(s.issuer.Sign(nil, claims))
		header.Set("X-Api-Key", "another")
		wrong(400)
	case 18:
		header.Set("X-Api-Key", s.issuer.Sign(nil, claims))
	default:
		bearer(s.issuer.Sign(nil, claims))
	}

	row := []struct {
		operation, group, method, path string
		body, streams                  bool
	}{
		{"chat.completions.create", "inference", "POST", "/chat/completions", true, true},
		{"completions.create", "inference", "POST", "/completions", true, true},
		{"embeddings.create", "inference", "POST", "/embeddings", true, false},
		{"responses.create", "inference", "POST", "/responses", true, false},
		{"files.list", "files", "GET", "/files", false, false},
		{"files.delete", "files", "DELETE", "/files/file-1", false, false},
		{"models.list", "", "GET", "/models", false, false},
	}[d.of(7)]
	a.method, a.path = row.method, row.path
	query := ""
	switch d.of(32) {
	case 31:
		a.method = "PATCH"
		wrong(405)
	case 30:
		a.path = "/" + a.path
		wrong(404)
	case 29:
		a.path = strings.ToUpper(a.path)
		wrong(404)
	case 28:
		a.path += "/"
		wrong(404)
	case 27:
		query = "?access_token=x"
		wrong(400)
	case 26:
		query = "?model=small"
		wrong(400)
	case 25:
		a.path = strings.Replace(a.path, "/", "/..%2f", 1)
		wrong(404)
	}

	text := ""
	var models []string
	stream, most := false, -1
	if row.body {
		members := []string{}
		a.body = map[string]any{}
		add := func(name, text string, value any) {
			members = append(members, name+strings.Repeat(" ", d.of(3))+":"+strings.Repeat("\n", d.of(2))+text)
			a.body[strings.ReplaceAll(strings.Trim(name, `"`), `\u006d`, "m")] = value
		}
		one := []string{"small", "large", "spare", "none", "Small", "small-1"}
		name := one[d.of(len(one))]
		models = []string{name}
		key := []string{`"model"`, `"model"`, `"\u006dodel"`}[d.of(3)]
		switch d.of(16) {
		case 15:
			wrong(400) // none
		case 14:
			add(`"Model"`, `"small"`, nil)
			wrong(400)
		case 13:
			add(`"model"`, `1`, nil)
			wrong(400)
		case 12:
			add(`"model"`, `"small"`, nil)
			members = append(members, `"\u006dodel":"large"`)
			wrong(400)
		case 11:
			add(`"model"`, `null`, nil)
			wrong(400)
		default:
			add(key, `"`+name+`"`, name)
		}
		if d.oneIn(4) && row.operation == "chat.completions.create" {
			further := one[d.of(len(one))]
			models = append(models, further)
			add(`"models"`, `["`+further+`"]`, []any{further})
		}
		switch d.of(8) {
		case 7:
			add(`"stream"`, `"true"`, nil)
			wrong(400)
		case 6, 5:
			add(`"stream"`, `true`, true)
			stream = true
		case 4:
			add(`"stream"`, `null`, nil)
		case 3:
			add(`"stream"`, `false`, false)
		}
		bound := map[string]string{"chat.completions.create": `"max_completion_tokens"`, "completions.create": `"max_tokens"`, "responses.create": `"max_output_tokens"`}[row.operation]
		switch n := d.of(8); {
		case bound == "": // elsewhere it bounds nothing
			add(`"max_tokens"`, `50`, 50.)
		case n == 7:
			add(bound, `-1`, nil)
			wrong(400)
		case n == 6:
			add(bound, `1e2`, nil)
			wrong(400)
		case n == 5:
			add(bound, `101`, 101.)
			most = 101
		case n == 4:
			add(bound, `100`, 100.)
			most = 100
		case n == 3:
			add(bound, `null`, nil)
		}
		if d.oneIn(3) {
			add(`"messages"`, `[{"role":"user","content":"\"model\":\"large\"","model":"large"}]`, []any{map[string]any{"role": "user", "content": `"model":"large"`, "model": "large"}})
		}
		if d.oneIn(3) && row.streams {
			options := []struct {
				text  string
				value any
			}{{`{}`, map[string]any{}}, {`{"include_usage":false}`, map[string]any{"include_usage": false}}, {`{"include_usage":true,"x":[]}`, map[string]any{"include_usage": true, "x": []any{}}}, {`null`, nil}}[d.of(4)]
			add(`"stream_options"`, options.text, options.value)
		}
		for range d.of(len(members) + 1) { // order means nothing
			members = append(members[1:], members[0])
		}
		text = "{" + strings.Join(members, ",") + "}"
		header.Set("Content-Type", []string{"application/json", "application/json", "application/json; charset=utf-8", "Application/JSON"}[d.of(4)])
		switch d.of(24) {
		case 23:
			text = "\ufeff" + text
			wrong(400)
		case 22:
			text = text[:len(text)-1]
			wrong(400)
		case 21:
			text += text
			wrong(400)
		case 20:
			header.Set("Content-Type", "text/plain")
			wrong(415)
		case 19:
			header.Set("Content-Encoding", "gzip")
			wrong(415)
		case 18:
			text = "[" + text + "]"
			wrong(400)
		case 17:
			text = strings.Replace(text, "{", "{\"x\":\"\xff\",", 1)
			wrong(400)
		case 16:
			text = ""
			wrong(400, 415)
		}
	} else if d.oneIn(16) {
		text = "{}"
		header.Set("Content-Type", "application/json")
		wrong(400)
	}
	for _, h := range []string{"Cookie: a=b", "X-HTTP-Method-Override: DELETE", "OpenAI-Organization: org-x", "X-Original-URL: /v1/files", "X-Forwarded-Host: x"} {
		if d.oneIn(4) {
			name, value, _ := strings.Cut(h, ": ")
			header.Set(name, value)
		}
	}

	switch {
	case row.group == "":
		a.listed = []string{}
		for name, at := range names {
			for _, to := range at {
				for _, op := range []string{"chat.completions.create", "embeddings.create"} {
					if !slices.Contains(a.listed, name) && allows(groups, "inference", op, name, to[0], false, -1) {
						a.listed = append(a.listed, name)
					}
				}
			}
		}
		slices.Sort(a.listed)
	case !row.body:
		a.upstream = "first"
		if !allows(groups, row.group, row.operation, "", "first", false, -1) {
			wrong(403)
		}
	default:
		for _, to := range names[models[0]] {
			replaced := map[string]string{}
			for _, m := range models {
				for _, there := range names[m] {
					if there[0] == to[0] && allows(groups, row.group, row.operation, m, to[0], stream, most) {
						replaced[m] = there[1]
					}
				}
			}
			if replaced[models[0]] == "" || replaced[models[len(models)-1]] == "" {
				continue
			}
			a.upstream = to[0]
			a.body["model"] = replaced[models[0]]
			if len(models) > 1 {
				a.body["models"] = []any{replaced[models[1]]}
			}
			break
		}
		if a.upstream == "" {
			wrong(403)
		}
		if stream && row.streams {
			options, _ := a.body["stream_options"].(map[string]any)
			options = maps.Clone(options)
			if options == nil {
				options = map[string]any{}
			}
			options["include_usage"] = true
			a.body["stream_options"] = options
		}
	}
	a.Request = httptest.NewRequest(a.method, "/v1"+a.path+query, strings.NewReader(text))
	a.Request.Header = header
	if text == "" {
		a.Request.Body = http.NoBody
	}
	return a
}

// sightings are what both providers see of requests, a line each, and each thing that they must not see.
type sightings struct {
	mu   sync.Mutex
	seen []string
}

func (s *sightings) by(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		for name := range r.Header {
			if !slices.Contains([]string{"Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent"}, name) {
				s.seen = append(s.seen, "the header "+name)
			}
		}
		if !accessTokens.MatchString(r.Header.Get("Authorization")) {
			s.seen = append(s.seen, "the credential "+r.Header.Get("Authorization"))
		}
		s.seen = append(s.seen, name+" "+r.Method+" "+r.RequestURI+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	}
}

func (s *sightings) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// FuzzGateway makes requests of all sorts, and holds what becomes of each against what a plain reader of
// the configuration expects: served where it must be, with our credential and the body but for the names of
// models, or refused, and then seen by nobody.
func FuzzGateway(f *testing.F) {
	var seen sightings
	s := open(f, setting{config: fuzzed, policy: fuzzedPolicy, first: upstream(f, seen.by("first")), second: upstream(f, seen.by("second")), clients: map[string][]string{"any": nil}})
	s.records.discard = true
	random := rand.NewChaCha8([32]byte{})
	for range 500 {
		seed := make([]byte, 48)
		random.Read(seed)
		f.Add(seed)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		a := s.in(t).ask((*dice)(&bytes))
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, a.Request)
		seen := seen.take()
		what := fmt.Sprintf("%s %s by %s", a.method, a.RequestURI, a.Header)
		if len(a.refusals) > 0 || a.upstream == "" {
			if len(seen) > 0 {
				t.Fatalf("%s: seen %q", what, seen)
			}
		}
		if len(a.refusals) > 0 {
			if !slices.Contains(a.refusals, w.Code) {
				t.Fatalf("%s: %d, want one of %v: %s", what, w.Code, a.refusals, w.Body)
			}
			return
		}
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", what, w.Code, w.Body)
		}
		if a.upstream == "" {
			var list struct{ Data []struct{ ID string } }
			json.Unmarshal(w.Body.Bytes(), &list)
			got := []string{}
			for _, m := range list.Data {
				got = append(got, m.ID)
			}
			if !slices.Equal(got, a.listed) {
				t.Errorf("listed %q, want %q", got, a.listed)
			}
			return
		}
		if len(seen) != 1 {
			t.Fatalf("%s: seen %q", what, seen)
		}
		body, ok := strings.CutPrefix(seen[0], a.upstream+" "+a.method+" /v1"+a.path+" ")
		var sent map[string]any
		if json.Unmarshal([]byte(body), &sent); !ok || !reflect.DeepEqual(sent, a.body) {
			t.Errorf("%s: seen %s, want %s %s %v", what, seen[0], a.upstream, a.path, a.body)
		}
	})
}
