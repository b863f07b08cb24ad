//go:build e2e

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/leaks"
)

// prompt is echoed by the models, word by word.
const prompt = "one two three four five six"

// canaries begin every credential there is: a JWT, Google's access tokens, a key file's PEM.
var canaries = []string{"eyJ", "ya29.", "PRIVATE KEY"}

// call is one that was made.
type call struct {
	by           *caller
	id           string // of the request
	answer       answer
	began, ended time.Time
	// wrong is what no answer may be.
	wrong string
}

// caller makes calls of one kind, one after the other.
type caller struct {
	kind   kind
	stream bool
	url    string
	token  func() string
	client *http.Client
	bound  time.Duration

	mu    sync.Mutex
	calls []call
}

func (c *caller) String() string {
	if c.stream {
		return string(c.kind) + ", streamed"
	}
	return string(c.kind)
}

// run calls until it is stopped.
func (c *caller) run(t testing.TB, stop <-chan struct{}) {
	for {
		made := c.call(t.Context())
		c.mu.Lock()
		c.calls = append(c.calls, made)
		c.mu.Unlock()
		select {
		case <-stop:
			return
		case <-time.After(120 * time.Millisecond):
		}
	}
}

// since are the calls that began then or later.
func (c *caller) since(then time.Time) []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.calls, func(made call) bool { return !made.began.Before(then) })
	if at < 0 {
		return nil
	}
	return slices.Clone(c.calls[at:])
}

func (c *caller) call(ctx context.Context) (made call) {
	made.by, made.began = c, time.Now() // before its token is made
	defer func() { made.ended = time.Now() }()
	ctx, cancel := context.WithTimeout(ctx, c.bound)
	defer cancel()
	model := c.kind
	if model == newcomer {
		model = one
	}
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"max_tokens":50,"messages":[{"role":"user","content":%q}]}`, model, c.stream, prompt)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		made.wrong = err.Error()
		return made
	}
	req.Header.Set("Authorization", "Bearer "+c.token())
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		made.wrong = "no answer: " + err.Error()
		return made
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	made.id = resp.Header.Get("X-Request-Id")
	made.answer, made.wrong = c.read(resp, text, err)
	if ctx.Err() != nil {
		made.wrong = fmt.Sprintf("hangs for more than %s", c.bound)
	}
	if found := leaks.In("the answer", append([]byte(fmt.Sprint(resp.Header)), text...), canaries...); found != nil {
		made.wrong = "a credential is in the answer"
	}
	return made
}

// read judges an answer: an error that says which, or the whole of the echo, or one that broke off and looks so.
func (c *caller) read(resp *http.Response, text []byte, err error) (a answer, wrong string) {
	a.status, a.broken = resp.StatusCode, err != nil
	if a.status != http.StatusOK {
		var told struct{ Error struct{ Code string } }
		if json.Unmarshal(text, &told) != nil || told.Error.Code == "" || a.broken || resp.Header.Get("X-Gateway-Error") != "true" {
			return a, fmt.Sprintf("%d without an error of the gateway's: %q", a.status, text)
		}
		a.code = told.Error.Code
		if after, _ := strconv.Atoi(resp.Header.Get("Retry-After")); a.status == http.StatusServiceUnavailable && after < 1 {
			return a, "503 that doesn't say when to come back"
		}
		return a, ""
	}
	if !c.stream {
		var told struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if a.broken {
			return a, ""
		}
		if json.Unmarshal(text, &told) != nil || len(told.Choices) != 1 || told.Choices[0].Message.Content != "You said: "+prompt {
			return a, fmt.Sprintf("200 that isn't whole: %q", text)
		}
		return a, ""
	}
	last, said := "", ""
	for line := range bytes.Lines(text) {
		data, is := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data: "))
		if !is {
			continue
		}
		last = string(data)
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
			Error   struct{ Code string }
		}
		json.Unmarshal(data, &chunk)
		if len(chunk.Choices) == 1 {
			said += chunk.Choices[0].Delta.Content
		}
		a.code = chunk.Error.Code
	}
	whole := last == "[DONE]" && strings.TrimSpace(said) == "You said: "+prompt
	switch {
	case a.broken && a.code == "":
		return a, fmt.Sprintf("a stream broke off without an error event: %q", text)
	case !a.broken && !whole:
		return a, fmt.Sprintf("200 that isn't whole: %q", text)
	}
	return a, ""
}
