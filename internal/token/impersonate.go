package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"llmgateway.dev/gateway/internal/hidden"
)

const (
	iamCredentials = "https://iamcredentials.googleapis.com"
	// cloudPlatform is a scope that iamCredentials takes of its callers.
	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
)

// impersonate has a token of another service account made, authorized by the gateway's own, which
// goes nowhere else:
// docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken.
//
// It is a request of our own because Google's libraries for it put the answer into their errors, and read
// the logging level from the environment.
func impersonate(transport http.RoundTripper, base, email string, scopes []string) grant {
	own := googleDefault(transport, []string{cloudPlatform})
	to := base + "/v1/projects/-/serviceAccounts/" + url.PathEscape(email) + ":generateAccessToken"
	body, err := json.Marshal(map[string]any{"scope": scopes, "lifetime": "3600s"})
	if err != nil {
		panic("token: " + err.Error()) // strings only
	}
	return func(ctx context.Context, _ hidden.Text) (hidden.Text, time.Duration, error) {
		ours, _, err := own(ctx, hidden.Text{})
		if err != nil {
			return hidden.Text{}, 0, err
		}
		x := &exchange{ctx: ctx, base: transport}
		answer, err := x.post(to, ours.Reveal(), body)
		if err != nil {
			return hidden.Text{}, 0, fmt.Errorf("impersonate %s: %w", email, err)
		}
		value, life, err := generated(answer, time.Now())
		if err != nil {
			return hidden.Text{}, 0, fmt.Errorf("impersonate %s: %w", email, err)
		}
		return value, life, nil
	}
}

// post sends a JSON body with a token and returns the body of an answer with status 200.
func (x *exchange) post(to, token string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(x.ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := x.client().Do(req)
	if err != nil {
		return nil, x.refusal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, x.refusal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, answered(resp.StatusCode, answer)
	}
	return answer, nil
}

// generated reads an answer of generateAccessToken. Its time is absolute, so that it is compared by
// the wall clock.
func generated(answer []byte, now time.Time) (hidden.Text, time.Duration, error) {
	var t struct {
		AccessToken string    `json:"accessToken"`
		ExpireTime  time.Time `json:"expireTime"` // RFC 3339
	}
	if json.Unmarshal(answer, &t) != nil {
		return hidden.Text{}, 0, errors.New("the token endpoint's answer is not a token response")
	}
	return usable(t.AccessToken, t.ExpireTime.Sub(now.Round(0)))
}
