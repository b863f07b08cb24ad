//go:build e2e

package e2e

import "slices"

const (
	geminiModels  = "POST /gemini/v1beta/models/"
	geminiSent    = geminiModels + "gemini-2.5-flash:generateContent"
	geminiStream  = geminiModels + "gemini-2.5-flash:streamGenerateContent?alt=sse"
	vertexModels  = "POST /vertex/v1beta1/projects/acme/locations/europe-west4/publishers/google/models/"
	vertexSent    = vertexModels + "gemini-2.5-flash:generateContent"
	vertexStream  = vertexModels + "gemini-2.5-flash:streamGenerateContent?alt=sse"
	aimockModels  = "POST /gemini-aimock/v1beta/models/gemini-aimock-1:"
	generate      = "models.generate_content"
	googleEchoed  = `{"text": "You said: e2e-prompt", "in_pieces": true, "usage": [1, 3]}`
	googleCalled  = `["e2e-tool", {"said": "use the tool"}]`
	googleAnswers = `{"text": ` + completion + `, "in_pieces": true, "usage": [1, 7]}`
)

// geminiSteps are the Gemini API, from Google AI Studio, from Vertex AI and from aimock.
func geminiSteps() []step {
	return slices.Concat([]step{
		{"gemini-flash", echo, geminiSent, allowed(generate, "gemini-flash", "gemini 200", "1+3")},
		{"gemini-flash, streamed", googleEchoed, geminiStream, allowed(generate, "gemini-flash", "gemini 200", "1+3")},
		{"gemini-flash, a tool call", googleCalled, geminiSent, allowed(generate, "gemini-flash", "gemini 200", "3+5")},
		{"gemini-flash, a tool call, streamed", "[" + googleCalled + "]", geminiStream, allowed(generate, "gemini-flash", "gemini 200", "3+5")},
	}, vertexCalls(), []step{
		{"gemini-aimock", completion, aimockModels + "generateContent", allowed(generate, "gemini-aimock", "gemini-aimock 200", "1+7")},
		{"gemini-aimock, streamed", googleAnswers, aimockModels + "streamGenerateContent?alt=sse", allowed(generate, "gemini-aimock", "gemini-aimock 200", "1+7")},
		{"gemini-aimock, a tool call", googleCalled, aimockModels + "generateContent", allowed(generate, "gemini-aimock", "gemini-aimock 200")},
		{"gemini-aimock, a tool call, streamed", "[" + googleCalled + "]", aimockModels + "streamGenerateContent?alt=sse", allowed(generate, "gemini-aimock", "gemini-aimock 200")},
	}, googleFeatures("gemini-flash", "gemini 200", geminiSent), []step{
		{"tokens counted", `1`, geminiModels + "gemini-2.5-flash:countTokens", allowed("models.count_tokens", "gemini-flash", "gemini 200")},
		{"an embedding", `[9, 0.5, -0.5]`, geminiModels + "gemini-2.5-flash:batchEmbedContents", allowed("models.embed_content", "gemini-flash", "gemini 200")},
	}, googleRefusals(), []step{
		{"a model of another API", raised("ClientError", 400, "INVALID_ARGUMENT"), "", recorded(400, generate, "gpt-4-turbo", "allow", platform)},
		{"a bad token", raised("ClientError", 401, "UNAUTHENTICATED"), "", "401"},
		{"an expired token", raised("ClientError", 401, "UNAUTHENTICATED"), "", "401"},
	}, googleTroubles("gemini", geminiModels), []step{
		{"a model with another target, once", echo, both(twice(geminiModels+"closed:generateContent"), vertexSent),
			allowed(generate, "gemini-anywhere", "gemini 503, gemini 503, vertex 200", "1+3")},
		{"a model with another target, twice", echo, both(twice(geminiModels+"closed:generateContent"), vertexSent),
			allowed(generate, "gemini-anywhere", "gemini 503, gemini 503, vertex 200", "1+3")},
		{"a model with another target, thrice", echo, both(geminiModels+"closed:generateContent", vertexSent),
			allowed(generate, "gemini-anywhere", "gemini 503, gemini skipped, vertex 200", "1+3")},
	}, googleDeaths("gemini", geminiModels))
}

// vertexSteps are Vertex AI's Gemini API.
func vertexSteps() []step {
	sent := allowed(generate, "gemini-vertex", "vertex 200", "1+3")
	elsewhere := raised("ClientError", 403, "PERMISSION_DENIED")
	return slices.Concat(vertexCalls(), googleFeatures("gemini-vertex", "vertex 200", vertexSent), []step{
		{"tokens counted", `1`, vertexModels + "gemini-2.5-flash:countTokens", allowed("models.count_tokens", "gemini-vertex", "vertex 200")},
		{"an embedding", `[9, 0.5, -0.5]`, vertexModels + "gemini-2.5-flash:embedContent", allowed("models.embed_content", "gemini-vertex", "vertex 200", "1+0")},
	}, googleRefusals(), []step{
		{"a model of another API", elsewhere, "", refused(403, generate, "gpt-4-turbo", platform)},
		{"another's project", elsewhere, "", refused(403, generate, "gemini-vertex", platform)},
		{"another location", elsewhere, "", refused(403, generate, "gemini-vertex", platform)},
		{"a model of another upstream", elsewhere, "", refused(403, generate, "gemini-flash", platform)},
		{"a bad token", raised("ClientError", 401, "UNAUTHENTICATED"), "", "401"},
		{"an expired token", raised("ClientError", 401, "UNAUTHENTICATED"), "", "401"},
		{"a first token", echo, vertexSent, sent},
		{"a token refreshed", echo, vertexSent, sent},
		{"the call after", echo, vertexSent, sent},
		{"refreshed", `2`, "", ""},
	}, googleTroubles("vertex", vertexModels),
		googleDeaths("vertex", vertexModels))
}

func vertexCalls() []step {
	return []step{
		{"gemini-vertex", echo, vertexSent, allowed(generate, "gemini-vertex", "vertex 200", "1+3")},
		{"gemini-vertex, streamed", googleEchoed, vertexStream, allowed(generate, "gemini-vertex", "vertex 200", "1+3")},
		{"gemini-vertex, a tool call", googleCalled, vertexSent, allowed(generate, "gemini-vertex", "vertex 200", "3+5")},
		{"gemini-vertex, a tool call, streamed", "[" + googleCalled + "]", vertexStream, allowed(generate, "gemini-vertex", "vertex 200", "3+5")},
	}
}

func googleFeatures(model, attempts, sent string) []step {
	return []step{
		{"a tool's result", `"You said: {\"said\":\"e2e-result\"}"`, sent, allowed(generate, model, attempts, "5+3")},
		{"an image", `"You said: e2e-prompt [image/png]"`, sent, allowed(generate, model, attempts, "2+4")},
		{"a thought", `3`, sent, allowed(generate, model, attempts, "1+6 (3 thought)")},
		{"a prompt to cache", `null`, sent, allowed(generate, model, attempts, "4+3")},
		{"the cached prompt", `3`, sent, allowed(generate, model, attempts, "4+3 (3 cached)")},
	}
}

func googleRefusals() []step {
	denied := raised("ClientError", 403, "PERMISSION_DENIED")
	return []step{
		{"a model that is forbidden", denied, "", refused(403, generate, "gpt-4o", "")},
		{"a model that is unknown", denied, "", refused(403, generate, "gemini-99", "")},
	}
}

// googleTroubles are those of the models that have them at the upstream.
func googleTroubles(upstream, models string) []step {
	limited := twice(models + "limited:generateContent")
	record := recorded(429, generate, upstream+"-limited", "allow", platform, upstream+" 429, "+upstream+" 429")
	return []step{
		{"a limited model", raised("ClientError", 429, "RESOURCE_EXHAUSTED"), twice(limited), twice(record)},
		{"a limited model, by default", raised("ClientError", 429, "RESOURCE_EXHAUSTED"), limited, record}, // no retry
		{"a failing model", raised("ServerError", 500, "INTERNAL"), twice(models + "failing:generateContent"),
			recorded(500, generate, upstream+"-failing", "allow", platform, upstream+" 500, "+upstream+" 500")},
		{"a faltering model", echo, twice(models + "faltering:generateContent"),
			allowed(generate, upstream+"-faltering", upstream+" 500, "+upstream+" 200", "1+3")},
	}
}

func googleDeaths(upstream, models string) []step {
	return []step{
		{"a model that dies", raised("RemoteProtocolError", nil, nil), models + "dying:generateContent", dead(generate, upstream+"-dying", upstream+" 200")},
		{"a model that dies, streamed", raised("ServerError", 502, "UNAVAILABLE"), models + "dying:streamGenerateContent?alt=sse",
			dead(generate, upstream+"-dying", upstream+" 200", "1+1")},
	}
}
