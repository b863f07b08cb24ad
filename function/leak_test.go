package function_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

const canary = "canary-in-a-coal-mine"

// panics is a part that fails where nobody foresaw it, with a secret in its hands.
type panics struct{}

func (panics) Read([]byte) (int, error) { panic(errors.New(canary)) }
func (panics) Close() error             { return nil }

func TestAPanicIsRecordedWithoutItsValue(t *testing.T) {
	s := open(t, setting{})
	w := httptest.NewRecorder()
	req := httptest.NewRequest("POST", chatPath, panics{})
	req.Header.Set("Authorization", "Bearer "+s.issuer.Token("pipeline"))
	req.Header.Set("Content-Type", "application/json")
	s.handler.ServeHTTP(w, req)
	a := &answer{Response: w.Result(), body: w.Body.String()}
	s.want(a, 500, "internal_error")
	r := s.record(a)
	if cause, _ := r["cause"].(string); !strings.Contains(cause, "panic of type *errors.errorString") || !strings.Contains(cause, "leak_test.go") {
		t.Errorf("the operator learns %q", cause)
	}
	if r["severity"] != "ERROR" {
		t.Errorf("severity %v", r["severity"])
	}
	if strings.Contains(a.body+s.records.String(), canary) {
		t.Error("the panic's value was told")
	}
}

// tripwire panics at the second write of an answer's body.
type tripwire struct {
	http.ResponseWriter
	writes int
}

func (w *tripwire) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *tripwire) Write(b []byte) (int, error) {
	if w.writes++; w.writes == 2 {
		panic(canary)
	}
	return w.ResponseWriter.Write(b)
}

func TestAPanicWithinAnAnswerBreaksIt(t *testing.T) {
	s := open(t, setting{
		wrap: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&tripwire{ResponseWriter: w}, r) })
		},
		first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			flush(w, event("one"))
			flush(w, event("two")+"data: [DONE]\n\n")
		}),
	})
	a := s.chat("pipeline", streamed)
	if !errors.Is(a.err, io.ErrUnexpectedEOF) || !strings.HasPrefix(event("one"), a.body) {
		t.Errorf("the answer ended with %v: %q", a.err, a.body)
	}
	if r := s.record(a); r["error_code"] != "internal_error" || r["severity"] != "ERROR" {
		t.Errorf("record %v", flat(r))
	}
	if strings.Contains(s.records.String(), canary) {
		t.Error("the panic's value was told")
	}
}

// indiscreet is a token endpoint in trouble, which quotes what it was sent, and then works.
type indiscreet struct {
	mu                 sync.Mutex
	assertions, tokens []string
}

func (i *indiscreet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	assertion := r.FormValue("assertion")
	i.assertions = append(i.assertions, assertion)
	w.Header().Set("Content-Type", "application/json")
	if len(i.assertions) == 1 {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":"%s","error_description":"%s"}`, assertion, assertion)
		return
	}
	token := "ya29.c." + rand.Text()
	i.tokens = append(i.tokens, token)
	fmt.Fprintf(w, `{"access_token":"%s","token_type":"Bearer","expires_in":3599}`, token)
}

// exchangeAt makes the service account key name another token endpoint.
func (s *scene) exchangeAt(h http.Handler) {
	server := httptest.NewServer(h)
	s.Cleanup(server.Close)
	var key map[string]string
	if err := json.Unmarshal(s.tokens.ServiceAccountKey(), &key); err != nil {
		s.Fatal(err)
	}
	key["token_uri"] = server.URL
	b, _ := json.Marshal(key)
	s.secrets.Add(secretName, b)
}

// Nothing that a client, an upstream or the gateway itself keeps secret stands in a record, or in an
// answer to somebody whom it does not concern. Everything that the gateway can go through is gone through.
func TestNothingSecretIsInARecordOrInAnAnswer(t *testing.T) {
	const prompt, completion = "prompt-" + canary, "completion-" + canary
	s := open(t, setting{first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(body), "die"):
			dies("text/event-stream", event(completion)+"data: "+completion)(w, r)
		case strings.Contains(string(body), "refuse"):
			w.WriteHeader(401)
			io.WriteString(w, `{"error":{"message":"Incorrect API key provided: `+r.Header.Get("Authorization")+`"}}`)
		case strings.Contains(string(body), "quote"):
			w.Header().Set("X-Got", r.Header.Get("Authorization"))
			w.Header().Set("X-Request-Id", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			w.WriteHeader(400)
			io.WriteString(w, `{"error":{"message":"bad header Authorization: `+r.Header.Get("Authorization")+`"}}`)
		case strings.Contains(string(body), "stream"):
			w.Header().Set("Content-Type", "text/event-stream")
			flush(w, event(completion)+usageChunk+"data: [DONE]\n\n")
		default:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"model":"m","choices":[{"message":{"content":"`+completion+`"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`)
		}
	})})
	var endpoint indiscreet
	s.exchangeAt(&endpoint)

	token, tuner := s.issuer.Token("pipeline"), s.issuer.Token("tuner")
	expired := s.issuer.Claims("pipeline")
	expired["iat"], expired["exp"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	stale := s.issuer.Sign(nil, expired)
	forged := issuertest.NewKeyID(s.issuer.Key().Algorithm, s.issuer.Key().ID).Sign(nil, s.issuer.Claims("pipeline"))
	chat := func(extra string) string {
		return `{"model":"gpt-4-turbo",` + extra + `"messages":[{"role":"user","content":"` + prompt + `"}]}`
	}

	var concerned, others []*answer
	ask := func(to *[]*answer, method, path, token, body string) {
		*to = append(*to, s.do(s.request(t.Context(), method, path, token, body)))
	}
	ask(&others, "POST", chatPath, token, chat(`"user":"first",`)) // the token endpoint is in trouble
	time.Sleep(1100 * time.Millisecond)                            // its delay after a failure
	ask(&concerned, "POST", chatPath, token, chat(""))
	ask(&concerned, "POST", chatPath, token, chat(`"stream":true,`))
	ask(&concerned, "POST", chatPath, token, chat(`"stream":true,"user":"die",`))
	ask(&others, "POST", chatPath, token, chat(`"user":"refuse",`))
	ask(&others, "POST", chatPath, token, chat(`"user":"quote",`))
	if r := s.record(others[len(others)-1]); others[len(others)-1].StatusCode != 400 || !strings.Contains(fmt.Sprint(r["cause"]), "quotes the credential") {
		t.Errorf("the operator isn't told: %v", flat(r))
	}
	ask(&others, "POST", chatPath, token, chat(`"x":`)) // malformed
	ask(&others, "POST", chatPath, token, `{"model":"`+prompt+`"}`)
	ask(&others, "POST", chatPath, stale, chat(""))
	ask(&others, "POST", chatPath, forged, chat(""))
	ask(&others, "POST", chatPath+"?access_token="+tuner, token, chat(""))
	ask(&others, "GET", "/whoami", tuner, "")
	ask(&others, "GET", "/v1/models", tuner, "")
	ask(&others, "GET", "/v1/nothing?q="+tuner, tuner, "")
	ask(&others, "GET", "/health?ready", "", "")
	two := s.request(t.Context(), "GET", "/v1/models", token, "")
	two.Header.Set("X-Api-Key", tuner)
	others = append(others, s.do(two))

	var whole strings.Builder
	for _, a := range concerned {
		if a.StatusCode != 200 || !strings.Contains(a.body, completion) {
			t.Fatalf("a call that should go through did not: %d %s", a.StatusCode, a.body)
		}
	}
	for _, a := range others {
		whole.WriteString(lines(a.Header) + a.body)
	}
	for _, a := range slices.Concat(concerned, others) {
		if a.Request.URL.Path != "/health" {
			s.record(a)
		}
	}
	records := s.records.String()
	if n := strings.Count(records, "\n"); n < 15 {
		t.Fatalf("%d records", n)
	}

	var key struct {
		PrivateKey string `json:"private_key"`
	}
	if err := json.Unmarshal(s.tokens.ServiceAccountKey(), &key); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"private key": strings.Split(key.PrivateKey, "\n")[3], "any key": "PRIVATE KEY", "completion": completion}
	for name, jwt := range map[string]string{"token": token, "tuner's token": tuner, "expired token": stale, "forged token": forged} {
		p := strings.Split(jwt, ".")
		secrets[name+"'s claims"], secrets[name+"'s signature"] = p[1], p[2]
	}
	if len(endpoint.assertions) != 3 || len(endpoint.tokens) != 2 { // in trouble, well, after the upstream's 401
		t.Fatalf("%d assertions, %d access tokens", len(endpoint.assertions), len(endpoint.tokens))
	}
	for i, assertion := range endpoint.assertions {
		p := strings.Split(assertion, ".")
		secrets[fmt.Sprint("claims of assertion ", i)], secrets[fmt.Sprint("signature of assertion ", i)] = p[1], p[2]
	}
	for i, token := range endpoint.tokens {
		secrets[fmt.Sprint("access token ", i)] = token
	}
	for name, secret := range secrets {
		if strings.Contains(records, secret) || strings.Contains(records, base64.StdEncoding.EncodeToString([]byte(secret))) {
			t.Errorf("the %s stands in a record", name)
		}
		if strings.Contains(whole.String(), secret) {
			t.Errorf("the %s stands in an answer", name)
		}
	}
	// A debugger's print of the gateway, with all that it holds by now.
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		print := fmt.Sprintf(verb, s.handler)
		for name, secret := range secrets {
			if strings.Contains(print, secret) || strings.Contains(print, fmt.Sprintf("%x", secret)) {
				t.Errorf("the %s is printed by %s", name, verb)
			}
		}
	}
	// The prompt, too, but for the one that was sent as a model's name: that is what the record is for.
	if n := strings.Count(records, prompt); n != 2 || strings.Contains(whole.String(), prompt) {
		t.Errorf("the prompt stands %d times in records", n)
	}
	for _, a := range concerned {
		for name, secret := range secrets {
			if name != "completion" && strings.Contains(lines(a.Header)+a.body, secret) {
				t.Errorf("the %s stands in an answer", name)
			}
		}
	}
}
