//go:build e2e

package e2e

import "slices"

const (
	azureSent      = "POST /azure/openai/v1/chat/completions"
	vertexChatSent = "POST /vertex/v1/projects/acme/locations/europe-west4/endpoints/openapi/chat/completions"

	// echoed is what the doubles' models say in a stream, with a space after each word.
	echoed = `{"text": "You said: e2e-prompt ", "in_pieces": true, "usage_chunks": 0, "usage": false}`

	chatSent      = "POST /openai/v1/chat/completions"
	platformSent  = "POST /platform/v1/chat/completions"
	embeddingSent = "POST /platform/v1/embeddings"
)

var (
	chatted = recorded(200, "chat.completions.create", "gpt-4-turbo", "allow", "enrichment-uses-gpt-4-turbo", "openai 200", "1+7")
	listed  = recorded(200, "models.list")

	notAllowed  = raised("PermissionDeniedError", 403, "operation_not_allowed")
	modelDenied = raised("PermissionDeniedError", 403, "model_not_allowed")
)

// openAISteps are OpenAI's whole API with both SDKs, and every face that providers give it.
func openAISteps(in language) []step {
	// What the SDKs raise where an answer breaks off: before its end, and in a stream.
	died, cut := raised("APIConnectionError", nil, nil), raised("APIError", nil, "upstream_error")
	if in == node {
		died = raised("TypeError", nil, nil)
	}
	return slices.Concat(openAICalls, []step{
		{"a tool call", `["tool_calls", "e2e-tool", {"said": "use the tool"}]`, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "3+8")},
		{"an image to see", completion, chatSent, allowed("chat.completions.create", "gpt-4-turbo", "openai 200", "1+7")},
		{"gpt-azure", echo, azureSent, allowed("chat.completions.create", "gpt-azure", "azure 200", "1+3")},
		{"gpt-azure, streamed", echoed, azureSent, allowed("chat.completions.create", "gpt-azure", "azure 200", "1+3")},
		{"gpt-azure-with-a-key", echo, "POST /azure-key/openai/v1/chat/completions", allowed("chat.completions.create", "gpt-azure-with-a-key", "azure-key 200", "1+3")},
		{"gpt-azure-with-a-key, streamed", echoed, "POST /azure-key/openai/v1/chat/completions", allowed("chat.completions.create", "gpt-azure-with-a-key", "azure-key 200", "1+3")},
		{"gemini-as-openai", echo, vertexChatSent, allowed("chat.completions.create", "gemini-as-openai", "vertex 200", "1+3")},
		{"gemini-as-openai, streamed", echoed, vertexChatSent, allowed("chat.completions.create", "gemini-as-openai", "vertex 200", "1+3")},
		{"a model of another API", raised("BadRequestError", 400, "invalid_request"), "", recorded(400, "chat.completions.create", "claude-sonnet", "allow", platform)},

		{"a bad token", raised("AuthenticationError", 401, "invalid_token"), "", "401"},
		{"a limited model", raised("RateLimitError", 429, "rate_limit_error"), both(twice(platformSent), twice(platformSent)),
			twice(recorded(429, "chat.completions.create", "gpt-limited", "allow", platform, "platform 429, platform 429"))},
		{"a failing model", raised("InternalServerError", 500, "api_error"), twice(platformSent),
			recorded(500, "chat.completions.create", "gpt-failing", "allow", platform, "platform 500, platform 500")},
		{"a faltering model", echo, twice(platformSent),
			allowed("chat.completions.create", "gpt-faltering", "platform 500, platform 200", "1+3")},
		{"a model with another target, once", echo, both(twice(platformSent), azureSent),
			allowed("chat.completions.create", "gpt-anywhere", "platform 503, platform 503, azure 200", "1+3")},
		{"a model with another target, twice", echo, both(twice(platformSent), azureSent),
			allowed("chat.completions.create", "gpt-anywhere", "platform 503, platform 503, azure 200", "1+3")},
		{"a model with another target, thrice", echo, both(platformSent, azureSent),
			allowed("chat.completions.create", "gpt-anywhere", "platform 503, platform skipped, azure 200", "1+3")},
		{"a model that dies", died, platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},
		{"a model that dies, streamed", cut, platformSent, dead("chat.completions.create", "gpt-dying", "platform 200")},
	})
}

var openAICalls = []step{
	{"chat", completion, chatSent, chatted},
	{"streaming",
		`{"text": ` + completion + `, "in_pieces": true, "usage_chunks": 0, "usage": false}`,
		chatSent, chatted},
	{"streaming with usage",
		`{"text": ` + completion + `, "in_pieces": true, "usage_chunks": 1, "usage": true}`,
		chatSent, chatted},
	{"embeddings", `[9, 0.5, -0.5]`, embeddingSent,
		recorded(200, "embeddings.create", "text-embedding-3-small", "allow", "enrichment-embeds", "platform 200", "1+0")},
	{"models", `["gpt-4-turbo", "text-embedding-3-small"]`, "", listed},
	{"fine-tuning", notAllowed, "",
		refused(403, "fine_tuning.jobs.create", "gpt-4-turbo", "read-only-never-fine-tunes")},
	{"a model that is forbidden", modelDenied, "",
		refused(403, "chat.completions.create", "gpt-4o", "")},
	{"a model that is unknown", modelDenied, "",
		refused(403, "chat.completions.create", "gpt-99", "")},
	{"chat without groups", notAllowed, "",
		refused(403, "chat.completions.create", "gpt-4-turbo", "")},
	{"models without groups", `[]`, "", listed},
	{"an expired token", raised("AuthenticationError", 401, "expired_token"), "",
		"401"},
	{"the next call", completion, chatSent, chatted},
	{"the call after", completion, chatSent, chatted},
	{"tokens fetched for both", `1`, "", ""},

	{"a completion", echo, "POST /platform/v1/completions", allowed("completions.create", "gpt-3.5-turbo-instruct", "platform 200", "1+3")},
	{"a moderation", `false`, "POST /openai/v1/moderations", allowed("moderations.create", "omni-moderation", "openai 200")},
	{"embeddings as floats", `[9, 0.5, -0.5]`, embeddingSent, allowed("embeddings.create", "text-embedding-3-small", "platform 200", "1+0")},

	{"an image", `"e2e-completion"`, "POST /openai/v1/images/generations", allowed("images.generate", "gpt-image-1", "openai 200")},
	{"an edited image", `"e2e-completion"`, "POST /openai/v1/images/edits", allowed("images.edit", "gpt-image-1", "openai 200")},
	{"speech", `"alloy: e2e-input"`, "POST /platform/v1/audio/speech", allowed("audio.speech.create", "tts-1", "platform 200")},
	{"a transcription", `"e2e-\u0000\r\naudio"`, "POST /platform/v1/audio/transcriptions", allowed("audio.transcriptions.create", "whisper-1", "platform 200")},
	{"a translation", `"e2e-\r\n--audio"`, "POST /platform/v1/audio/translations", allowed("audio.translations.create", "whisper-1", "platform 200")},

	{"a response", completion, "POST /openai/v1/responses", allowed("responses.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"a response, streamed", `{"text": ` + completion + `, "in_pieces": true, "last": "response.completed"}`,
		"POST /openai/v1/responses", allowed("responses.create", "gpt-4-turbo", "openai 200", "1+7")},
	{"a response in the background", `"resp-1 in_progress"`, "POST /platform/v1/responses", allowed("responses.create", "o4-mini", "platform 200")},
	{"the response", `"resp-1 in_progress"`, "GET /platform/v1/responses/resp-1?include%5B%5D=reasoning.encrypted_content", allowed("responses.retrieve", "", "platform 200")},
	{"what it answers", `"e2e-prompt"`, "GET /platform/v1/responses/resp-1/input_items", allowed("responses.input_items.list", "", "platform 200")},
	{"the response, cancelled", `"resp-1 cancelled"`, "POST /platform/v1/responses/resp-1/cancel", allowed("responses.cancel", "", "platform 200")},
	{"the response, deleted", `null`, "DELETE /platform/v1/responses/resp-1", allowed("responses.delete", "", "platform 200")},
	{"the response that was deleted", raised("NotFoundError", 404, "response_not_found"),
		"GET /platform/v1/responses/resp-1",
		recorded(404, "responses.retrieve", "allow", platform, "platform 404")},

	{"a file", `"file-1"`, "POST /platform/v1/files", allowed("files.create", "", "platform 200")},
	{"files", `["file-1"]`, "GET /platform/v1/files?limit=2&order=asc", allowed("files.list", "", "platform 200")},
	{"the file", `"e2e-ü.txt"`, "GET /platform/v1/files/file-1", allowed("files.retrieve", "", "platform 200")},
	{"its content", `"e2e-\r\n\u0000file"`, "GET /platform/v1/files/file-1/content", allowed("files.content", "", "platform 200")},
	{"the file, deleted", `true`, "DELETE /platform/v1/files/file-1", allowed("files.delete", "", "platform 200")},

	{"an upload", `"upload-1 pending"`, "POST /platform/v1/uploads", allowed("uploads.create", "", "platform 200")},
	{"its first part", `"part-1"`, "POST /platform/v1/uploads/upload-1/parts", allowed("uploads.parts.create", "", "platform 200")},
	{"its second part", `"part-2"`, "POST /platform/v1/uploads/upload-1/parts", allowed("uploads.parts.create", "", "platform 200")},
	{"the upload, completed", `"file-2"`, "POST /platform/v1/uploads/upload-1/complete", allowed("uploads.complete", "", "platform 200")},
	{"another upload", `"upload-2 pending"`, "POST /platform/v1/uploads", allowed("uploads.create", "", "platform 200")},
	{"the other upload, cancelled", `"upload-2 cancelled"`, "POST /platform/v1/uploads/upload-2/cancel", allowed("uploads.cancel", "", "platform 200")},
	{"an upload for a batch", raised("BadRequestError", 400, "invalid_request"), "",
		recorded(400, "uploads.create")},

	{"a batch file", `"file-3"`, "POST /platform/v1/files", allowed("files.create", "", "platform 200")},
	{"a batch file, one line denied", modelDenied, "", refused(403, "files.create", "", platform)},
	{"the models in the batch file", `["o4-mini-2025-04-16", "o4-mini-2025-04-16"]`, "GET /platform/v1/files/file-3/content", allowed("files.content", "", "platform 200")},
	{"a batch", `"batch-1 validating"`, "POST /platform/v1/batches", allowed("batches.create", "", "platform 200")},
	{"batches", `["batch-1"]`, "GET /platform/v1/batches", allowed("batches.list", "", "platform 200")},
	{"the batch", `2`, "GET /platform/v1/batches/batch-1", allowed("batches.retrieve", "", "platform 200")},
	{"the batch, cancelled", `"batch-1 cancelling"`, "POST /platform/v1/batches/batch-1/cancel", allowed("batches.cancel", "", "platform 200")},

	{"a job", `"ftjob-1 queued"`, "POST /platform/v1/fine_tuning/jobs", allowed("fine_tuning.jobs.create", "o4-mini", "platform 200")},
	{"jobs", `["ftjob-1"]`, "GET /platform/v1/fine_tuning/jobs", allowed("fine_tuning.jobs.list", "", "platform 200")},
	{"the job", `"o4-mini-2025-04-16"`, "GET /platform/v1/fine_tuning/jobs/ftjob-1", allowed("fine_tuning.jobs.retrieve", "", "platform 200")},
	{"its events", `[]`, "GET /platform/v1/fine_tuning/jobs/ftjob-1/events", allowed("fine_tuning.jobs.list_events", "", "platform 200")},
	{"its checkpoints", `[]`, "GET /platform/v1/fine_tuning/jobs/ftjob-1/checkpoints", allowed("fine_tuning.jobs.checkpoints.list", "", "platform 200")},
	{"the job, paused", `"ftjob-1 paused"`, "POST /platform/v1/fine_tuning/jobs/ftjob-1/pause", allowed("fine_tuning.jobs.pause", "", "platform 200")},
	{"the job, resumed", `"ftjob-1 queued"`, "POST /platform/v1/fine_tuning/jobs/ftjob-1/resume", allowed("fine_tuning.jobs.resume", "", "platform 200")},
	{"the job, cancelled", `"ftjob-1 cancelled"`, "POST /platform/v1/fine_tuning/jobs/ftjob-1/cancel", allowed("fine_tuning.jobs.cancel", "", "platform 200")},
}
