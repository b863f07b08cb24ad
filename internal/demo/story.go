package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

func (s *stage) introduce() {
	if s.google == nil {
		s.say(`An LLM gateway for machine clients, on this machine, before a provider of yours.

  identity provider   %s
  gateway             %s
  provider            %s
  gpt-4-turbo         is its %s

This provider %s, so no token is exchanged and no Secret Manager is read.
`, s.issuer.URL, s.gateway.URL, s.upstream.url, printable(s.upstream.model), s.byCredential("", "takes the key in OPENAI_API_KEY", "is called without a credential (OPENAI_API_KEY is not set)"))
		return
	}
	s.say(`An LLM gateway for machine clients, on this machine alone.

  identity provider   %s
  gateway             %s
  Secret Manager      %s
  token endpoint      %s
  provider            %s
`, s.issuer.URL, s.gateway.URL, s.google.secrets.URL, s.google.tokens.URL, s.upstream.url)
}

// byCredential chooses by what the gateway presents upstream.
func (s *stage) byCredential(accessToken, key, none string) string {
	switch {
	case s.google != nil:
		return accessToken
	case s.upstream.key != "":
		return key
	}
	return none
}

const (
	question = `{"model":"gpt-4-turbo","stream":true,"messages":[{"role":"user","content":"enrich record 4711"}]}`
	again    = `{"model":"gpt-4-turbo","messages":[{"role":"user","content":"and record 4712"}]}`
	tuning   = `{"model":"gpt-4-turbo","training_file":"file-1"}`
)

// play is the story: what the client does, what it sees, what the operator sees.
func (s *stage) play(ctx context.Context) error {
	s.step("The data pipeline asks its identity provider for a token (OAuth 2.0 client credentials).")
	token, err := s.token(ctx)
	if err != nil {
		return fmt.Errorf("get a token: %w", err)
	}

	s.step("It calls gpt-4-turbo. The gateway verifies the token, asks its policies, " +
		s.byCredential("gets an access token of its own", "presents the provider's key", "leaves the client's token out") + ", and streams the answer.")
	answer, err := s.call(ctx, "/v1/chat/completions", question, token)
	if err != nil {
		return err
	}
	s.client("%d %s", answer.status, answer.text())
	record := s.operator(answer)
	if err := expect(record.Decision == "allow" && slices.Equal(record.Policies, []string{"enrichment-uses-gpt-4-turbo"}), "the call to be allowed"); err != nil {
		return err
	}
	if err := expect(answer.status == 200 && s.isAnswer(words(answer.body), "You said: enrich record 4711") && answer.isWholeStream(),
		"the answer of "+printable(s.upstream.model)+" to be streamed"); err != nil {
		return err
	}

	s.step("It tries to fine-tune. A forbid wins over every permit; which one is for the operator to know.")
	answer, err = s.call(ctx, "/v1/fine_tuning/jobs", tuning, token)
	if err != nil {
		return err
	}
	s.client("%d %s", answer.status, answer.body)
	record = s.operator(answer)
	if err := expect(answer.status == 403 && record.Decision == "deny" && slices.Equal(record.Policies, []string{"read-only-never-fine-tunes"}), "the job to be denied by read-only-never-fine-tunes"); err != nil {
		return err
	}
	if err := expect(!strings.Contains(answer.body, "read-only"), "the policy to be kept from the client"); err != nil {
		return err
	}

	s.step("A token of an hour ago is refused.")
	answer, err = s.call(ctx, "/v1/chat/completions", again, s.expired())
	if err != nil {
		return err
	}
	s.client("%d %s", answer.status, answer.body)
	s.client("WWW-Authenticate: %s", answer.header.Get("WWW-Authenticate"))
	s.operator(answer)
	if err := expect(answer.status == 401 && strings.Contains(answer.body, "expired_token"), "the token to be refused as expired"); err != nil {
		return err
	}

	if s.google != nil {
		s.step("The second call finds everything warm: no key is fetched, no secret read, no token exchanged.")
	} else {
		s.step("The second call finds everything warm: the identity provider is not asked for its keys again.")
	}
	answer, err = s.call(ctx, "/v1/chat/completions", again, token)
	if err != nil {
		return err
	}
	s.client("%d %s", answer.status, answer.text())
	record = s.operator(answer)
	if s.google != nil {
		s.say("    in all: %d key fetch, %d secret read, %d token exchange", s.issuer.KeyFetches(), s.google.secrets.Reads(keyName), s.google.tokens.Exchanges())
	} else {
		s.say("    in all: %d key fetch", s.issuer.KeyFetches())
	}
	if err := expect(answer.status == 200 && s.isAnswer(words(answer.body), "You said: and record 4712") &&
		record.Cache.ClientToken && record.Cache.UpstreamToken == s.byCredential("fresh", "fresh", ""), "the second call to be served from the caches"); err != nil {
		return err
	}
	if err := expect(s.issuer.KeyFetches() == 1 && (s.google == nil || s.google.tokens.Exchanges() == 1), "one exchange and one key fetch in all"); err != nil {
		return err
	}

	s.say("\nThe audit records, one line a request, as Cloud Logging gets them:\n")
	for _, line := range s.records.all() {
		s.say("%s", line)
	}
	return s.nothingLeaked(token)
}

// token gets an access token as a client would, and shows its claims.
func (s *stage) token(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {clientSecret}}
	req, err := http.NewRequestWithContext(ctx, "POST", s.issuer.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&granted); err != nil || resp.StatusCode != 200 {
		return "", fmt.Errorf("token endpoint: status %d, %v", resp.StatusCode, err)
	}
	parts := strings.Split(granted.AccessToken, ".")
	if len(parts) != 3 {
		return "", errors.New("what was granted is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", err
	}
	for _, name := range []string{"iss", "aud", "azp", "groups", "exp"} {
		value, _ := json.Marshal(claims[name])
		s.client("%-7s %s", name, value)
	}
	return granted.AccessToken, nil
}

func (s *stage) expired() string {
	claims := s.issuer.Claims(clientID)
	claims["iat"] = time.Now().Add(-65 * time.Minute).Unix()
	claims["exp"] = time.Now().Add(-time.Hour).Unix()
	return s.issuer.Sign(nil, claims)
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s *stage) call(ctx context.Context, path, body, token string) (*answer, error) {
	s.client("POST %s %s", path, body)
	req, err := http.NewRequestWithContext(ctx, "POST", s.gateway.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, strings.TrimSpace(string(b))}, err
}

// text is the answer's words, or, of an error, the whole of it.
func (a *answer) text() string {
	if a.status == 200 {
		return words(a.body)
	}
	return printable(a.body)
}

// isWholeStream reports whether the answer is a stream that wasn't cut: SDKs take a cut one for a short one.
func (a *answer) isWholeStream() bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") && strings.HasSuffix(a.body, "[DONE]")
}

// isAnswer reports whether a model said that: the double echoes, a real one says what it will.
func (s *stage) isAnswer(said, echo string) bool {
	if s.google != nil {
		return said == echo
	}
	return said != ""
}

// record is the part of an audit record that the story tells.
type record struct {
	RequestID string   `json:"request_id"`
	Message   string   `json:"message"`
	Decision  string   `json:"decision"`
	Policies  []string `json:"policies"`
	Target    string   `json:"target_model"`
	Input     int      `json:"gen_ai.usage.input_tokens"`
	Output    int      `json:"gen_ai.usage.output_tokens"`
	Cost      float64  `json:"cost_usd"`
	Cache     struct {
		ClientToken   bool   `json:"client_token"`
		UpstreamToken string `json:"upstream_token"`
	} `json:"cache"`
}

// operator shows what the audit record of the answer says. The record is written just after the
// answer's last byte.
func (s *stage) operator(a *answer) record {
	var r record
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		lines := s.records.all()
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, a.header.Get("X-Request-Id")) }); i >= 0 {
			json.Unmarshal([]byte(lines[i]), &r)
			break
		}
	}
	s.say("    operator: %s", r.Message)
	if r.Decision != "" {
		s.say("    operator: decision %s by %s", r.Decision, strings.Join(r.Policies, ", "))
	}
	if r.Input > 0 && s.google != nil {
		s.say("    operator: answered by %s, %d tokens in, %d out, %.5f USD, upstream token %s", r.Target, r.Input, r.Output, r.Cost, r.Cache.UpstreamToken)
	} else if r.Input > 0 {
		s.say("    operator: answered by %s, %d tokens in, %d out", printable(r.Target), r.Input, r.Output)
	}
	return r
}

// nothingLeaked checks that no record holds what must not be in one.
func (s *stage) nothingLeaked(token string) error {
	all := strings.Join(s.records.all(), "\n")
	for what, secret := range map[string]string{"the client's token": token, "an access token": "ya29.", "the key": "PRIVATE KEY", "the provider's key": s.upstream.key, "the prompt": "enrich record"} {
		if secret != "" && strings.Contains(all, secret) {
			return fmt.Errorf("%s stands in a record", what)
		}
	}
	return nil
}

// words puts a chat answer's text together, streamed or not.
func words(body string) string {
	type choice struct {
		Delta   struct{ Content string }
		Message struct{ Content string }
	}
	parts := []string{body}
	if !json.Valid([]byte(body)) {
		parts = strings.Split(body, "\n")
	}
	var text strings.Builder
	for _, part := range parts {
		var chunk struct{ Choices []choice }
		json.Unmarshal([]byte(strings.TrimPrefix(part, "data:")), &chunk)
		for _, c := range chunk.Choices {
			text.WriteString(c.Delta.Content + c.Message.Content)
		}
	}
	return printable(text.String())
}

// printable puts on one line what a provider wrote, and keeps its control characters from the
// terminal.
func printable(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }), " ")
}

func (s *stage) printCommands() {
	s.say(`
Everything stays up until you press Ctrl-C. To paste into another terminal:

  TOKEN=$(curl -s -d grant_type=client_credentials -d client_id=%s -d client_secret=%s \
    %s | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  printf 'Authorization: Bearer %%s\n' "$TOKEN" | curl -s --header @- %[4]s/whoami
  printf 'Authorization: Bearer %%s\n' "$TOKEN" | curl -s --header @- %[4]s/v1/models
  printf 'Authorization: Bearer %%s\n' "$TOKEN" | curl -sN --header @- --header 'Content-Type: application/json' \
    -d '{"model":"gpt-4-turbo","stream":true,"messages":[{"role":"user","content":"hello"}]}' %[4]s/v1/chat/completions

The configuration and the policies are in %[5]s. Records follow here:
`, clientID, clientSecret, s.issuer.TokenURL(), s.gateway.URL, s.dir)
}

func (s *stage) step(text string)                  { s.say("\n%s", text) }
func (s *stage) client(format string, args ...any) { s.say("    client:   "+format, args...) }
func (s *stage) say(format string, args ...any)    { fmt.Fprintf(s.out, format+"\n", args...) }

func expect(ok bool, what string) error {
	if !ok {
		return fmt.Errorf("the story went otherwise: expected %s", what)
	}
	return nil
}
