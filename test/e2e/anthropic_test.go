//go:build e2e

package e2e

const (
	messageSent       = "POST /anthropic/v1/messages"
	aimockMessageSent = "POST /anthropic-aimock/v1/messages"
	rawSent           = "POST /vertex/v1/projects/acme/locations/europe-west4/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
	streamRawSent     = "POST /vertex/v1/projects/acme/locations/europe-west4/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict"
	countRawSent      = "POST /vertex/v1/projects/acme/locations/europe-west4/publishers/anthropic/models/count-tokens:rawPredict"
)

// anthropicSteps are Anthropic's API, from Anthropic, from Vertex AI and from aimock.
func anthropicSteps(in language) []step {
	died, cut := raised("APIConnectionError", nil, nil), raised("APIStatusError", 200, "upstream_error")
	if in == node {
		died, cut = raised("TypeError", nil, nil), raised("APIError", nil, "upstream_error")
	}
	sent := func(model string, usage ...string) string {
		return allowed("messages.create", model, map[string]string{"claude-sonnet": "anthropic", "claude-vertex": "vertex", "claude-aimock": "anthropic-aimock"}[model]+" 200", usage...)
	}
	message := func(model string) string { return sent(model, "1+3") }
	const (
		echoed   = `{"text": "You said: e2e-prompt", "in_pieces": true, "usage": [1, 3]}`
		answered = `{"text": ` + completion + `, "in_pieces": true, "usage": [1, 7]}`
		called   = `["tool_use", "e2e-tool", {"said": "use the tool"}]`
	)
	return []step{
		{"claude-sonnet", echo, messageSent, message("claude-sonnet")},
		{"claude-sonnet, streamed", echoed, messageSent, message("claude-sonnet")},
		{"claude-sonnet, a tool call", called, messageSent, sent("claude-sonnet", "3+5")},
		{"claude-sonnet, a tool call, streamed", called, messageSent, sent("claude-sonnet", "3+5")},
		{"claude-vertex", echo, rawSent, message("claude-vertex")},
		{"claude-vertex, streamed", echoed, streamRawSent, message("claude-vertex")},
		{"claude-vertex, a tool call", called, rawSent, sent("claude-vertex", "3+5")},
		{"claude-vertex, a tool call, streamed", called, streamRawSent, sent("claude-vertex", "3+5")},
		{"claude-aimock", completion, aimockMessageSent, sent("claude-aimock", "1+7")},
		{"claude-aimock, streamed", answered, aimockMessageSent, sent("claude-aimock", "1+7")},
		{"claude-aimock, a tool call", called, aimockMessageSent, sent("claude-aimock")},
		{"claude-aimock, a tool call, streamed", called, aimockMessageSent, sent("claude-aimock")},

		{"claude-sonnet, a tool's result", `"You said: e2e-result"`, messageSent, sent("claude-sonnet", "4+3")},
		{"claude-sonnet, an image", `"You said: e2e-prompt [image/png]"`, messageSent, sent("claude-sonnet", "2+4")},
		{"claude-sonnet, tokens counted", `1`, messageSent + "/count_tokens", allowed("messages.count_tokens", "claude-sonnet", "anthropic 200")},
		{"claude-sonnet, a prompt to cache", `[3, 0]`, messageSent, sent("claude-sonnet", "4+3")},
		{"claude-sonnet, the cached prompt", `[0, 3]`, messageSent, sent("claude-sonnet", "4+3 (3 cached)")},
		{"claude-vertex, a tool's result", `"You said: e2e-result"`, rawSent, sent("claude-vertex", "4+3")},
		{"claude-vertex, an image", `"You said: e2e-prompt [image/png]"`, rawSent, sent("claude-vertex", "2+4")},
		{"claude-vertex, tokens counted", `1`, countRawSent, allowed("messages.count_tokens", "claude-vertex", "vertex 200")},
		{"claude-vertex, a prompt to cache", `[3, 0]`, rawSent, sent("claude-vertex", "4+3")},
		{"claude-vertex, the cached prompt", `[0, 3]`, rawSent, sent("claude-vertex", "4+3 (3 cached)")},

		{"models", `["claude-sonnet"]`, "", listed},
		{"a model", `"model"`, "", recorded(200, "models.retrieve")},
		{"a model that is forbidden", modelDenied, "", refused(403, "messages.create", "gpt-4o", "")},
		{"a model that is unknown", modelDenied, "", refused(403, "messages.create", "claude-99", "")},
		{"a model of another API", raised("BadRequestError", 400, "invalid_request"), "",
			recorded(400, "messages.create", "gpt-4-turbo", "allow", platform)},

		{"a bad token", raised("AuthenticationError", 401, "invalid_token"), "", "401"},
		{"an expired token", raised("AuthenticationError", 401, "expired_token"), "", "401"},
		{"an expired token, renewed", echo, messageSent, both("401", message("claude-sonnet"))},
		{"the call after", echo, messageSent, message("claude-sonnet")},
		{"tokens asked for by both", `2`, "", ""},
		{"a key", echo, messageSent, message("claude-sonnet")},

		{"a limited model", raised("RateLimitError", 429, "rate_limit_error"), both(twice(messageSent), twice(messageSent)),
			twice(recorded(429, "messages.create", "claude-limited", "allow", platform, "anthropic 429, anthropic 429"))},
		{"a failing model", raised("InternalServerError", 500, "api_error"), twice(messageSent),
			recorded(500, "messages.create", "claude-failing", "allow", platform, "anthropic 500, anthropic 500")},
		{"a faltering model", echo, twice(messageSent),
			allowed("messages.create", "claude-faltering", "anthropic 500, anthropic 200", "1+3")},
		{"a model with another target, once", echo, both(twice(messageSent), rawSent),
			allowed("messages.create", "claude-anywhere", "anthropic 503, anthropic 503, vertex 200", "1+3")},
		{"a model with another target, twice", echo, both(twice(messageSent), rawSent),
			allowed("messages.create", "claude-anywhere", "anthropic 503, anthropic 503, vertex 200", "1+3")},
		{"a model with another target, thrice", echo, both(messageSent, rawSent),
			allowed("messages.create", "claude-anywhere", "anthropic 503, anthropic skipped, vertex 200", "1+3")},
		{"a model that dies", died, messageSent, dead("messages.create", "claude-dying", "anthropic 200")},
		{"a model that dies, streamed", cut, messageSent, dead("messages.create", "claude-dying", "anthropic 200", "1+1")},
	}
}
