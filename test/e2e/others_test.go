//go:build e2e

package e2e

// langchainSteps are what langchain adds upon OpenAI's SDK: its own messages, and its own exceptions
// beside the SDK's.
var langchainSteps = []step{
	{"chat", completion, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"streaming", `{"text": ` + completion + `, "in_pieces": true, "usage": [1, 7]}`, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"a tool call", googleCalled, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "3+8")},
	{"a tool call, streamed", googleCalled, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "3+8")},
	{"an image to see", completion, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"a response", completion, "POST /openai/v1/responses", allowed("responses.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"an embedding", `[9, 0.5, -0.5]`, embeddingSent, allowed("embeddings.create", "text-embedding-3-small", "platform 200", "1+0")},

	{"a model that is forbidden", raised("OpenAIPermissionDeniedError", 403, "model_not_allowed"), "", refused(403, "chat.completions.create", "gpt-4o", "")},
	{"a model that is unknown", raised("OpenAIPermissionDeniedError", 403, "model_not_allowed"), "", refused(403, "chat.completions.create", "gpt-99", "")},
	{"a bad token", raised("OpenAIAuthenticationError", 401, "invalid_token"), "", "401"},
	{"an expired token", raised("OpenAIAuthenticationError", 401, "expired_token"), "", "401"},
	{"a first token", completion, chatSent, chatted},
	{"the next token", completion, chatSent, chatted},

	{"a limited model", raised("OpenAIRateLimitError", 429, "rate_limit_error"), both(twice(platformSent), twice(platformSent)),
		twice(recorded(429, "chat.completions.create", "gpt-limited", "allow", platform, "platform 429, platform 429"))},
	{"a failing model", raised("OpenAIAPIError", 500, "api_error"), twice(platformSent),
		recorded(500, "chat.completions.create", "gpt-failing", "allow", platform, "platform 500, platform 500")},
	{"a faltering model", echo, twice(platformSent), allowed("chat.completions.create", "gpt-faltering", "platform 500, platform 200", "1+3")},
	{"a model with another target", echo, both(twice(platformSent), azureSent),
		allowed("chat.completions.create", "gpt-anywhere", "platform 503, platform 503, azure 200", "1+3")},
	{"a model that dies", raised("OpenAIConnectionError", nil, nil), platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},
	{"a model that dies, streamed", raised("APIError", nil, "upstream_error"), platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},
}

// litellmSteps are litellm in the place of three SDKs. It has exceptions of its own, not always of
// the class that the status has.
var litellmSteps = []step{
	{"openai", completion, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"openai, streamed", `{"text": ` + completion + `, "in_pieces": true, "usage": [1, 7]}`, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"openai, a tool call", googleCalled, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "3+8")},
	{"openai, an image", completion, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"openai, a forbidden model", raised("APIError", 403, nil), "", refused(403, "chat.completions.create", "gpt-4o", "")},
	{"openai, a bad token", raised("AuthenticationError", 401, nil), "", "401"},
	{"openai, a limited model", raised("RateLimitError", 429, nil), twice(platformSent),
		recorded(429, "chat.completions.create", "gpt-limited", "allow", platform, "platform 429, platform 429")},
	{"openai, a failing model", raised("InternalServerError", 500, nil), twice(platformSent),
		recorded(500, "chat.completions.create", "gpt-failing", "allow", platform, "platform 500, platform 500")},
	{"openai, a model that dies", raised("InternalServerError", 500, nil), platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},
	{"openai, a model that dies, streamed", raised("MidStreamFallbackError", 500, nil), platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},

	{"anthropic", echo, messageSent, allowed("messages.create", "claude-sonnet", "anthropic 200", "1+3")},
	{"anthropic, streamed", `{"text": ` + echo + `, "in_pieces": true, "usage": [1, 3]}`, messageSent, allowed("messages.create", "claude-sonnet", "anthropic 200", "1+3")},
	{"anthropic, a tool call", googleCalled, messageSent, allowed("messages.create", "claude-sonnet", "anthropic 200", "3+5")},
	{"anthropic, an image", `"You said: e2e-prompt [image/png]"`, messageSent, allowed("messages.create", "claude-sonnet", "anthropic 200", "2+4")},
	{"anthropic, a forbidden model", raised("PermissionDeniedError", 403, nil), "", refused(403, "messages.create", "gpt-4o", "")},
	{"anthropic, a bad token", raised("AuthenticationError", 401, nil), "", "401"},
	{"anthropic, a limited model", raised("RateLimitError", 429, nil), twice(messageSent),
		recorded(429, "messages.create", "claude-limited", "allow", platform, "anthropic 429, anthropic 429")},
	{"anthropic, a failing model", raised("InternalServerError", 500, nil), twice(messageSent),
		recorded(500, "messages.create", "claude-failing", "allow", platform, "anthropic 500, anthropic 500")},
	{"anthropic, a model that dies", raised("InternalServerError", 500, nil), messageSent, dead("messages.create", "claude-dying", "anthropic 200")},
	{"anthropic, a model that dies, streamed", raised("MidStreamFallbackError", 500, nil), messageSent, dead("messages.create", "claude-dying", "anthropic 200", "1+1")},

	{"gemini", echo, geminiSent, allowed(generate, "gemini-flash", "gemini 200", "1+3")},
	{"gemini, streamed", `{"text": ` + echo + `, "in_pieces": true, "usage": [1, 3]}`, geminiStream, allowed(generate, "gemini-flash", "gemini 200", "1+3")},
	{"gemini, a tool call", googleCalled, geminiSent, allowed(generate, "gemini-flash", "gemini 200", "3+5")},
	{"gemini, an image", `"You said: e2e-prompt [image/png]"`, geminiSent, allowed(generate, "gemini-flash", "gemini 200", "2+4")},
	{"gemini, a forbidden model", raised("BadRequestError", 403, nil), "", refused(403, generate, "gpt-4o", "")},
	{"gemini, a bad token", raised("AuthenticationError", 401, nil), "", "401"},
	{"gemini, a limited model", raised("RateLimitError", 429, nil), twice(geminiModels + "limited:generateContent"),
		recorded(429, generate, "gemini-limited", "allow", platform, "gemini 429, gemini 429")},
	{"gemini, a failing model", raised("InternalServerError", 500, nil), twice(geminiModels + "failing:generateContent"),
		recorded(500, generate, "gemini-failing", "allow", platform, "gemini 500, gemini 500")},
	{"gemini, a model that dies", raised("APIConnectionError", 500, nil), geminiModels + "dying:generateContent", dead(generate, "gemini-dying", "gemini 200")},
	{"gemini, a model that dies, streamed", raised("MidStreamFallbackError", 500, nil), geminiModels + "dying:streamGenerateContent?alt=sse", dead(generate, "gemini-dying", "gemini 200", "1+1")},
}

// exits is what curl ends with: its exit code, and the code of the error that came, if one did.
func exits(status int, code any) string { return raised("CalledProcessError", status, code) }

const vertexV1 = "POST /vertex/v1/projects/acme/locations/europe-west4/publishers/google/models/gemini-2.5-flash:"

var curlSteps = []step{
	{"chat", completion, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"chat with api-key", completion, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"chat, streamed", `"[DONE]"`, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"chat, a tool call", `"e2e-tool"`, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "3+8")},
	{"a message", echo, messageSent, allowed("messages.create", "claude-sonnet", "anthropic 200", "1+3")},
	{"a message, streamed", `{"type": "message_stop"}`, messageSent, allowed("messages.create", "claude-sonnet", "anthropic 200", "1+3")},
	{"a message, a tool call", `{"said": "use the tool"}`, messageSent, allowed("messages.create", "claude-sonnet", "anthropic 200", "3+5")},
	{"content", echo, geminiSent, allowed(generate, "gemini-flash", "gemini 200", "1+3")},
	{"content, streamed", echo, geminiStream, allowed(generate, "gemini-flash", "gemini 200", "1+3")},
	{"content, streamed as an array", echo, geminiModels + "gemini-2.5-flash:streamGenerateContent", allowed(generate, "gemini-flash", "gemini 200", "1+3")},
	{"content with an image", `"You said: e2e-prompt [image/png]"`, geminiSent, allowed(generate, "gemini-flash", "gemini 200", "2+4")},
	{"an embedding", `[9, 0.5, -0.5]`, geminiModels + "gemini-2.5-flash:embedContent", allowed("models.embed_content", "gemini-flash", "gemini 200")},
	{"Vertex AI's content", echo, vertexV1 + "generateContent", allowed(generate, "gemini-vertex", "vertex 200", "1+3")},
	{"Vertex AI's content, streamed as an array", echo, vertexV1 + "streamGenerateContent", allowed(generate, "gemini-vertex", "vertex 200", "1+3")},
	{"Vertex AI's prediction", `[9, 0.5, -0.5]`, vertexV1 + "predict", allowed("models.predict", "gemini-vertex", "vertex 200")},

	{"a token in the query", exits(22, "INVALID_ARGUMENT"), "", "400"},

	{"chat, a bad token", exits(22, "invalid_token"), "", "401"},
	{"chat, a model that is forbidden", exits(22, "model_not_allowed"), "", refused(403, "chat.completions.create", "gpt-4o", "")},
	{"chat, a model that is unknown", exits(22, "model_not_allowed"), "", refused(403, "chat.completions.create", "model-99", "")},
	{"chat, a limited model", exits(22, "rate_limit_error"), twice(platformSent),
		recorded(429, "chat.completions.create", "gpt-limited", "allow", platform, "platform 429, platform 429")},
	{"chat, a failing model", exits(22, "api_error"), twice(platformSent),
		recorded(500, "chat.completions.create", "gpt-failing", "allow", platform, "platform 500, platform 500")},
	{"chat, a dying model", exits(18, nil), platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},
	{"a message, a bad token", exits(22, "invalid_token"), "", "401"},
	{"a message, a model that is forbidden", exits(22, "model_not_allowed"), "", refused(403, "messages.create", "gpt-4o", "")},
	{"a message, a model that is unknown", exits(22, "model_not_allowed"), "", refused(403, "messages.create", "model-99", "")},
	{"a message, a limited model", exits(22, "rate_limit_error"), twice(messageSent),
		recorded(429, "messages.create", "claude-limited", "allow", platform, "anthropic 429, anthropic 429")},
	{"a message, a failing model", exits(22, "api_error"), twice(messageSent),
		recorded(500, "messages.create", "claude-failing", "allow", platform, "anthropic 500, anthropic 500")},
	{"a message, a dying model", exits(18, nil), messageSent, dead("messages.create", "claude-dying", "anthropic 200")},
	{"content, a bad token", exits(22, "UNAUTHENTICATED"), "", "401"},
	{"content, a model that is forbidden", exits(22, "PERMISSION_DENIED"), "", refused(403, generate, "gpt-4o", "")},
	{"content, a model that is unknown", exits(22, "PERMISSION_DENIED"), "", refused(403, generate, "model-99", "")},
	{"content, a limited model", exits(22, "RESOURCE_EXHAUSTED"), twice(geminiModels + "limited:generateContent"),
		recorded(429, generate, "gemini-limited", "allow", platform, "gemini 429, gemini 429")},
	{"content, a failing model", exits(22, "INTERNAL"), twice(geminiModels + "failing:generateContent"),
		recorded(500, generate, "gemini-failing", "allow", platform, "gemini 500, gemini 500")},
	{"content, a dying model", exits(18, nil), geminiModels + "dying:generateContent", dead(generate, "gemini-dying", "gemini 200")},

	{"chat, a dying model, streamed", exits(18, "upstream_error"), platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},
	{"a message, a dying model, streamed", exits(18, "upstream_error"), messageSent, dead("messages.create", "claude-dying", "anthropic 200", "1+1")},
	{"content, a dying model, streamed", exits(18, "UNAVAILABLE"), geminiModels + "dying:streamGenerateContent?alt=sse", dead(generate, "gemini-dying", "gemini 200", "1+1")},
	{"content, a dying model, streamed as an array", exits(18, nil), geminiModels + "dying:streamGenerateContent", dead(generate, "gemini-dying", "gemini 200", "1+1")},
}
