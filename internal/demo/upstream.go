package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"llmgateway.dev/gateway/internal/config"
)

// upstream is the provider that answers.
type upstream struct {
	url, model string
	// key is what a real one wants, or "".
	key string
}

// realUpstream is the server that o names. Its model is the first it lists, if o names none.
func realUpstream(ctx context.Context, o Options) (upstream, error) {
	u, err := url.Parse(o.Upstream)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && !(u.Scheme == "http" && config.IsLoopback(u.Hostname())) {
		return upstream{}, errors.New("--upstream must be a base URL with https, or with http on this machine: https://api.openai.com/v1, http://127.0.0.1:11434/v1")
	}
	real := upstream{url: strings.TrimSuffix(o.Upstream, "/"), model: o.Model, key: strings.TrimSpace(os.Getenv("OPENAI_API_KEY"))}
	if real.model == "" {
		if real.model, err = real.firstModel(ctx); err != nil {
			return upstream{}, fmt.Errorf("which model? give --model NAME: %w", err)
		}
	}
	return real, nil
}

// firstModel asks for the list (platform.openai.com/docs/api-reference/models/list), and follows no
// redirect with the key.
func (u upstream) firstModel(ctx context.Context) (string, error) {
	client := &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, "GET", u.url+"/models", nil)
	if err != nil {
		return "", err
	}
	if u.key != "" {
		req.Header.Set("Authorization", "Bearer "+u.key)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return "", fmt.Errorf("%s/models answered %d", u.url, resp.StatusCode)
	}
	var list struct {
		Data []struct{ ID string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(&list); err != nil {
		return "", fmt.Errorf("%s/models is not a list of models", u.url)
	}
	if len(list.Data) == 0 || list.Data[0].ID == "" {
		return "", fmt.Errorf("%s/models lists none", u.url)
	}
	return list.Data[0].ID, nil
}
