package demo_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/demo"
)

// The story with the real gateway is told in function/cmd/gateway/testdata/demo.txtar. Here the gateway is
// wrong, and a story that goes otherwise must not be told as if it had gone well.
func TestAStoryThatGoesOtherwiseIsAnError(t *testing.T) {
	for name, gateway := range map[string]http.HandlerFunc{
		"everything is allowed": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"choices":[{"message":{"content":"You said: enrich record 4711"}}]}`)
		},
		"everything is denied": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) },
		"it dies":              func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := demo.Run(t.Context(), io.Discard, func(*config.Config, io.Writer) (http.Handler, error) { return gateway, nil }, demo.Options{Once: true})
			if err == nil {
				t.Error("the story was told to its end")
			}
		})
	}
	broken := errors.New("broken")
	err := demo.Run(t.Context(), io.Discard, func(*config.Config, io.Writer) (http.Handler, error) { return nil, broken }, demo.Options{Once: true})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "set the stage") {
		t.Errorf("%v", err)
	}
}
