package upstreamtest

import (
	"encoding/base64"
	"fmt"
	"net/http"
)

// platform.openai.com/docs/api-reference/images and …/audio

func (s *Server) handleMedia(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/images/generations", s.generateImage)
	mux.HandleFunc("POST /v1/images/edits", func(w http.ResponseWriter, r *http.Request) {
		if form, ok := readForm(w, r, "model", "prompt", "image"); ok {
			answerImage(w, form.Value["prompt"][0]+" in "+form.File["image"][0].Filename)
		}
	})
	mux.HandleFunc("POST /v1/images/variations", func(w http.ResponseWriter, r *http.Request) {
		if form, ok := readForm(w, r, "model", "image"); ok {
			answerImage(w, "like "+form.File["image"][0].Filename)
		}
	})
	mux.HandleFunc("POST /v1/audio/speech", s.speak)
	mux.HandleFunc("POST /v1/audio/transcriptions", s.hear)
	mux.HandleFunc("POST /v1/audio/translations", s.hear)
}

func (s *Server) generateImage(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model  string `json:"model"`
		Prompt string `json:"prompt"`
	}
	if !read(w, r, &req) {
		return
	}
	if req.Model == "" || req.Prompt == "" {
		fail(w, 400, "missing_required_parameter", "model and prompt are required")
		return
	}
	answerImage(w, req.Prompt)
}

// answerImage answers with an image that is its own description.
func answerImage(w http.ResponseWriter, of string) {
	answer(w, map[string]any{"created": created, "data": []any{map[string]any{"b64_json": base64.StdEncoding.EncodeToString([]byte("image of " + of))}}})
}

// speak answers with audio that is its own text.
func (s *Server) speak(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model string `json:"model"`
		Input string `json:"input"`
		Voice string `json:"voice"`
	}
	if !read(w, r, &req) {
		return
	}
	if req.Model == "" || req.Input == "" || req.Voice == "" {
		fail(w, 400, "missing_required_parameter", "model, input and voice are required")
		return
	}
	w.Header().Set("Content-Type", "audio/mpeg")
	fmt.Fprintf(w, "%s: %s", req.Voice, req.Input)
}

// hear answers with what speak said.
func (s *Server) hear(w http.ResponseWriter, r *http.Request) {
	if form, ok := readForm(w, r, "model", "file"); ok {
		answer(w, map[string]any{"text": string(contents(form.File["file"][0]))})
	}
}
