package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// caller is a client of the gateway at url.
type caller struct {
	url    string
	token  string
	pass   string // for Google's front end, where not everybody may invoke the function
	client *http.Client
	pause  time.Duration // between two attempts
}

// ask asks the three questions, and tells each answer that is right in a line.
func (c *caller) ask(ctx context.Context, model, denied string, told io.Writer) error {
	if err := c.streams(ctx, model); err != nil {
		return fmt.Errorf("a call that is allowed (%s): %w", model, err)
	}
	fmt.Fprintf(told, "allowed: %s streams\n", model)
	if err := c.refuses(ctx, denied, c.token, http.StatusForbidden, "model_not_allowed"); err != nil {
		return fmt.Errorf("a call that is denied (%s): %w", denied, err)
	}
	fmt.Fprintf(told, "denied: %s is 403 model_not_allowed\n", denied)
	if err := c.refuses(ctx, model, "", http.StatusUnauthorized, "missing_token"); err != nil {
		return fmt.Errorf("a call without a token: %w", err)
	}
	fmt.Fprintln(told, "without a token: 401 missing_token")
	return nil
}

// streams succeeds when an answer streams to its end. What a fresh deployment may answer for a
// while is asked again until ctx ends: refusals by Google's front end, and answers that say "later".
func (c *caller) streams(ctx context.Context, model string) error {
	var last error
	for {
		err := c.streamOnce(ctx, model)
		if err != nil && ctx.Err() != nil && last != nil {
			err = last // what was answered says more than that the time is up
		}
		last = err
		if err == nil || !errors.As(err, new(later)) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up: %w", err)
		case <-time.After(c.pause):
		}
	}
}

// later is an answer that another attempt may change.
type later struct{ error }

func (c *caller) streamOnce(ctx context.Context, model string) error {
	answer, err := c.post(ctx, model, c.token)
	if err != nil {
		return later{err}
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		err := fmt.Errorf("%s: %s", answer.Status, head(answer.Body))
		if answer.Header.Get("X-Request-Id") == "" || answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests {
			return later{err}
		}
		return err
	}
	events, done := 0, false
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		switch data = bytes.TrimSpace(data); {
		case string(data) == "[DONE]":
			done = true
		case !json.Valid(data):
			return fmt.Errorf("event %d is no JSON", events+1)
		default:
			events++
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		return fmt.Errorf("the stream broke after %d events: %w", events, err)
	case !done || events == 0:
		return fmt.Errorf("the stream ended after %d events without [DONE]", events)
	}
	return nil
}

// refuses succeeds when the gateway itself answers with this status and code.
func (c *caller) refuses(ctx context.Context, model, token string, status int, code string) error {
	answer, err := c.post(ctx, model, token)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text := head(answer.Body)
	var body struct{ Error struct{ Code string } }
	if err := json.Unmarshal(text, &body); err != nil || answer.StatusCode != status || body.Error.Code != code {
		return fmt.Errorf("was answered %s, not %d %s: %s", answer.Status, status, code, text)
	}
	return nil
}

// post calls model for a few streamed tokens.
func (c *caller) post(ctx context.Context, model, token string) (*http.Response, error) {
	body, err := json.Marshal(map[string]any{
		"model": model, "stream": true, "max_tokens": 16,
		"messages": []map[string]string{{"role": "user", "content": "Say: it works"}},
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", c.url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Serverless-Authorization", "Bearer "+c.pass)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return c.client.Do(r)
}

// head is the beginning of an answer, enough for an error of the gateway's.
func head(r io.Reader) []byte {
	text, _ := io.ReadAll(io.LimitReader(r, 2048))
	return bytes.TrimSpace(text)
}
