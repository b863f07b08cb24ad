package demo

import (
	"bufio"
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
)

func (s *stage) introduce() {
	s.say(`An LLM gateway for machine clients, on this machine alone.

  identity provider   %s
  gateway             %s
  Secret Manager      %s
  token endpoint      %s
  provider            %s
`, s.issuer.URL, s.gateway.URL, s.secrets.URL, s.tokens.URL, s.model.URL)
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

	s.step("It asks gpt-4-turbo. The gateway verifies the token, asks its policies, gets an access token of its own, and streams the answer.")
	answer, err := s.call(ctx, "/v1/chat/completions", question, token)
	if err != nil {
		return err
	}
	s.client("%d %s", answer.status, words(answer.body))
	record := s.operator(answer)
	if err := expect(answer.status == 200 && words(answer.body) == "You said: enrich record 4711" && record.Decision == "allow" && slices.Equal(record.Policies, []string{"enrichment-uses-gpt-4-turbo"}),
		"the call to be allowed and streamed"); err != nil {
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

	s.step("The second call finds everything warm: no key is fetched, no secret read, no token exchanged.")
	answer, err = s.call(ctx, "/v1/chat/completions", again, token)
	if err != nil {
		return err
	}
	s.client("%d %s", answer.status, words(answer.body))
	record = s.operator(answer)
	s.say("    in all: %d key fetch, %d secret read, %d token exchange", s.issuer.KeyFetches(), s.secrets.Reads("projects/demo/secrets/vertex-key"), s.tokens.Exchanges())
	if err := expect(answer.status == 200 && record.Cache.ClientToken && record.Cache.UpstreamToken == "fresh", "the second call to be served from the caches"); err != nil {
		return err
	}
	if err := expect(s.tokens.Exchanges() == 1 && s.issuer.KeyFetches() == 1, "one exchange and one key fetch in all"); err != nil {
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
	if r.Input > 0 {
		s.say("    operator: answered by %s, %d tokens in, %d out, %.5f USD, upstream token %s", r.Target, r.Input, r.Output, r.Cost, r.Cache.UpstreamToken)
	}
	return r
}

// nothingLeaked checks that no record holds what must not be in one.
func (s *stage) nothingLeaked(token string) error {
	all := strings.Join(s.records.all(), "\n")
	for what, secret := range map[string]string{"the client's token": token, "an access token": "ya29.", "the key": "PRIVATE KEY", "the prompt": "enrich record"} {
		if strings.Contains(all, secret) {
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
	var text strings.Builder
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		var chunk struct{ Choices []choice }
		json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &chunk)
		for _, c := range chunk.Choices {
			text.WriteString(c.Delta.Content + c.Message.Content)
		}
	}
	return strings.TrimSpace(text.String())
}

func (s *stage) printCommands() {
	s.say(`
Everything stays up until you press Ctrl-C. To paste into another terminal:

  TOKEN=$(curl -s -d grant_type=client_credentials -d client_id=%s -d client_secret=%s \
    %s | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -s -H "Authorization: Bearer $TOKEN" %[4]s/whoami
  curl -s -H "Authorization: Bearer $TOKEN" %[4]s/v1/models
  curl -sN -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
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
