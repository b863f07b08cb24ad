package operation

import (
	"regexp"
	"strings"
)

// Fields is the tree of the body's fields that the gateway acts on. All others are skipped, though
// still checked to be JSON.
type Fields struct {
	role role
	// members are an object's, by name; each is every element of an array, or every member of an
	// object.
	members map[string]*Fields
	each    *Fields
}

// role is what a field means to the gateway.
type role int

const (
	inner role = iota
	modelName
	modelResource // models/NAME
	streamFlag
	maxOutputTokens
	choices
	prompts
	background
	includeUsage
	undecidable
	// purpose says what a file is for: one for a batch is read.
	purpose
	batchFile
	// A line of a batch file is a call of its own.
	lineURL
	lineMethod
	lineBody
)

// fields builds a tree from paths such as "tools/*/model".
func fields(of ...map[string]role) *Fields {
	root := &Fields{}
	for _, paths := range of {
		for path, r := range paths {
			at := root
			for name := range strings.SplitSeq(path, "/") {
				at = at.child(name)
			}
			at.role = r
		}
	}
	return root
}

func (f *Fields) child(name string) *Fields {
	if name == "*" {
		if f.each == nil {
			f.each = &Fields{}
		}
		return f.each
	}
	if f.members == nil {
		f.members = map[string]*Fields{}
	}
	if f.members[name] == nil {
		f.members[name] = &Fields{}
	}
	return f.members[name]
}

// The model stands at "model" everywhere (platform.openai.com/docs/api-reference). Other fields that
// name one are decided too: a tool's model is OpenAI's (image_generation); models, fallbacks and plugins
// are those of servers in front of several providers, which an upstream of kind openai may be
// (openrouter.ai/docs/features/model-routing, docs.litellm.ai/docs/proxy/client_side_fallbacks). What
// chooses a model or a provider by other means than its name can't be decided, and is refused.
var (
	inference = map[string]role{
		"model":                                modelName,
		"models/*":                             modelName,
		"fallbacks/*":                          modelName,
		"fallbacks/*/model":                    modelName,
		"plugins/*/model":                      modelName,
		"plugins/*/models/*":                   modelName,
		"plugins/*/analysis_models/*":          modelName,
		"tools/*/model":                        modelName,
		"tools/*/parameters/model":             modelName,
		"tools/*/parameters/analysis_models/*": modelName,
		"stream":                               streamFlag,

		"context_window_fallbacks": undecidable,
		"content_policy_fallbacks": undecidable,
		"preset":                   undecidable,
		"model_list":               undecidable,
		"user_config":              undecidable,
		"api_base":                 undecidable,
		"base_url":                 undecidable,
	}

	modelFields      = fields(inference)
	imageFields      = fields(inference, map[string]role{"n": choices})
	completionFields = fields(inference, map[string]role{
		"stream_options/include_usage": includeUsage,
		"max_tokens":                   maxOutputTokens,
		"n":                            choices,
		"best_of":                      choices,
		"prompt":                       prompts,
	})
	chatFields = fields(inference, map[string]role{
		"stream_options/include_usage": includeUsage,
		"max_tokens":                   maxOutputTokens,
		"max_completion_tokens":        maxOutputTokens,
		"n":                            choices,
	})
	// A stream's last event tells the usage unasked.
	responseFields = fields(inference, map[string]role{"max_output_tokens": maxOutputTokens, "background": background})

	// docs.anthropic.com/en/api/messages; the version is a header's.
	messageFields = fields(inference, map[string]role{"max_tokens": maxOutputTokens, "anthropic_version": undecidable})

	// ai.google.dev/api, cloud.google.com/vertex-ai/docs/reference/rest. The model is the path's; where the
	// body repeats it, it does so as models/NAME. What has Google route to another model, call somebody
	// else with the operator's secrets, or write to the operator's storage is nothing that policies see.
	contentFields = fields(spelledTwice(map[string]role{
		"model":                            modelResource,
		"requests/*/model":                 modelResource,
		"generateContentRequest/model":     modelResource,
		"generationConfig/maxOutputTokens": maxOutputTokens,
		"generationConfig/candidateCount":  choices,
		"parameters/maxOutputTokens":       maxOutputTokens,
		"parameters/sampleCount":           choices,

		"generationConfig/routingConfig":                              undecidable,
		"generationConfig/modelConfig":                                undecidable,
		"tools/*/retrieval/externalApi":                               undecidable,
		"tools/*/retrieval/vertexRagStore/ragRetrievalConfig/ranking": undecidable,
		"parameters/storageUri":                                       undecidable,
	}))

	// In a form the others would be lists and objects within a text: refused, not read.
	formFields = fields(map[string]role{
		"model":  modelName,
		"stream": streamFlag,

		"models": undecidable, "fallbacks": undecidable, "plugins": undecidable, "tools": undecidable,
		"context_window_fallbacks": undecidable, "content_policy_fallbacks": undecidable,
		"preset": undecidable, "model_list": undecidable, "user_config": undecidable,
		"api_base": undecidable, "base_url": undecidable,
	})

	// A reinforcement job's graders are models that are called for every sample.
	fineTuningFields = fields(map[string]role{
		"model":                             modelName,
		"stream":                            streamFlag,
		"method/reinforcement/grader/model": modelName,
		"method/reinforcement/grader/graders/*/model": modelName,
	})

	fileFields   = fields(map[string]role{"purpose": purpose, "file": batchFile})
	uploadFields = fields(map[string]role{"purpose": purpose})
)

// holds reports whether some field of the tree has the role.
func (f *Fields) holds(r role) bool {
	if f == nil || f.role == r {
		return f != nil
	}
	for _, m := range f.members {
		if m.holds(r) {
			return true
		}
	}
	return f.each.holds(r)
}

// like returns the known member that name equals but for case, as a lenient reader would match it.
func (f *Fields) like(name string) string {
	for m := range f.members {
		if strings.EqualFold(m, name) {
			return m
		}
	}
	return ""
}

// spelledTwice adds the other spelling of each name: Google's JSON takes fieldName and field_name alike
// (protobuf.dev/programming-guides/json).
func spelledTwice(paths map[string]role) map[string]role {
	both := map[string]role{}
	for path, r := range paths {
		spellings := []string{""}
		for name := range strings.SplitSeq(path, "/") {
			var longer []string
			for _, s := range spellings {
				longer = append(longer, s+"/"+name, s+"/"+snake(name))
			}
			spellings = longer
		}
		for _, s := range spellings {
			both[s[1:]] = r
		}
	}
	return both
}

var capital = regexp.MustCompile("[A-Z]")

func snake(name string) string {
	return capital.ReplaceAllStringFunc(name, func(c string) string { return "_" + strings.ToLower(c) })
}
