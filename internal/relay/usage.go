package relay

import (
	"cmp"

	"github.com/go-json-experiment/json/jsontext"
)

// Usage is what an answer says it cost, in tokens. Input includes Cached, Output includes Reasoning.
type Usage struct {
	Input, Cached     int64
	Output, Reasoning int64
}

// summary is the part of an answer, or of a stream's event, that the gateway reads, in all dialects.
type summary struct {
	Type    string           `json:"type"`
	Model   string           `json:"model"`
	Choices []jsontext.Value `json:"choices"`
	Usage   *tokens          `json:"usage"`
	// Response is what the events of a streamed response speak of
	// (platform.openai.com/docs/api-reference/responses-streaming), Message those of a streamed message
	// (docs.anthropic.com/en/docs/build-with-claude/streaming).
	Response *summary `json:"response"`
	Message  *summary `json:"message"`
	// Google's (ai.google.dev/api/generate-content#UsageMetadata).
	ModelVersion string  `json:"modelVersion"`
	Metadata     *google `json:"usageMetadata"`
}

// tokens are counted under the first pair of names by OpenAI's chat, completions and embeddings, under
// the second by its responses, images and audio, and by Anthropic, which counts what it read from and
// wrote to its cache beside.
type tokens struct {
	Prompt        int64 `json:"prompt_tokens"`
	Completion    int64 `json:"completion_tokens"`
	Input         int64 `json:"input_tokens"`
	Output        int64 `json:"output_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	CacheCreation int64 `json:"cache_creation_input_tokens"`

	PromptDetails     details `json:"prompt_tokens_details"`
	CompletionDetails details `json:"completion_tokens_details"`
	InputDetails      details `json:"input_tokens_details"`
	OutputDetails     details `json:"output_tokens_details"`
}

type details struct {
	Cached    int64 `json:"cached_tokens"`
	Reasoning int64 `json:"reasoning_tokens"`
}

type google struct {
	Prompt     int64 `json:"promptTokenCount"`
	Cached     int64 `json:"cachedContentTokenCount"`
	Candidates int64 `json:"candidatesTokenCount"`
	Thoughts   int64 `json:"thoughtsTokenCount"`
	ToolUse    int64 `json:"toolUsePromptTokenCount"`
}

// note keeps what is told. A stream tells it bit by bit, and each number as its total so far.
func (s *summary) note(o *Outcome) {
	for _, inner := range []*summary{s.Response, s.Message} {
		if inner != nil {
			inner.note(o)
		}
	}
	o.Opening = o.Opening && s.Usage == nil || s.Message != nil
	if model := cmp.Or(s.Model, s.ModelVersion); model != "" {
		o.Model = model
	}
	var told Usage
	if t := s.Usage; t != nil {
		told = Usage{
			Input:     t.Prompt + t.Input + t.CacheRead + t.CacheCreation,
			Cached:    t.PromptDetails.Cached + t.InputDetails.Cached + t.CacheRead,
			Output:    t.Completion + t.Output,
			Reasoning: t.CompletionDetails.Reasoning + t.OutputDetails.Reasoning,
		}
	}
	if g := s.Metadata; g != nil {
		told = Usage{Input: g.Prompt + g.ToolUse, Cached: g.Cached, Output: g.Candidates + g.Thoughts, Reasoning: g.Thoughts}
	}
	// An answer can't be trusted to count. One number that can't be makes all of them doubtful.
	if o.absurd = o.absurd || !told.sane(); o.absurd {
		o.Usage = nil
		return
	}
	if told == (Usage{}) { // or audio billed by the second
		return
	}
	if o.Usage == nil {
		o.Usage = &Usage{}
	}
	o.Usage.Input = max(o.Usage.Input, told.Input)
	o.Usage.Cached = min(max(o.Usage.Cached, told.Cached), o.Usage.Input)
	o.Usage.Output = max(o.Usage.Output, told.Output)
	o.Usage.Reasoning = min(max(o.Usage.Reasoning, told.Reasoning), o.Usage.Output)
}

// mostTokens is some times the largest context of any model.
const mostTokens = 1 << 26

// sane reports whether a call can have cost that. Parts that are more than their whole are only cut.
func (u Usage) sane() bool {
	return u.Input >= 0 && u.Input <= mostTokens && u.Output >= 0 && u.Output <= mostTokens && u.Cached >= 0 && u.Reasoning >= 0
}
