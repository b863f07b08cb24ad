// Command mock is the provider that all candidates relay to, on loopback at PORT: chat completions in
// OpenAI's form, whole or streamed. It checks no credential and says little, so that it costs little.
//
// A stream has as many events as the request's max_tokens says; where the request's user is a duration,
// they come that far apart, else as fast as they can be written, one write each.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

const (
	head  = `{"id":"chatcmpl-1","created":1767225600,"model":"gpt-4-turbo-2024-04-09",`
	usage = `"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}`
	whole = head + `"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"bench-answer"},"logprobs":null,"finish_reason":"stop"}],` + usage + `}`
	chunk = head + `"object":"chat.completion.chunk",`
	event = "data: " + chunk + `"choices":[{"index":0,"delta":{"role":"assistant","content":"bench-event"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	last  = "data: " + chunk + `"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}` + "\n\n"
	cost  = "data: " + chunk + `"choices":[],` + usage + "}\n\n"
	done  = "data: [DONE]\n\n"
)

// small is the largest body that is read as JSON; larger ones are never streamed.
const small = 64 << 10

type asked struct {
	Stream        bool
	User          string
	MaxTokens     int `json:"max_tokens"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func main() {
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(serve)))
}

func serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		return // is it up
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, small+1))
	if err != nil {
		return
	}
	var a asked
	if len(body) > small {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
	} else if err := json.Unmarshal(body, &a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if a.Stream {
		stream(w, r, a)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, whole)
}

func stream(w http.ResponseWriter, r *http.Request, a asked) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	send := func(text string) {
		io.WriteString(w, text)
		out.Flush()
	}
	pace, _ := time.ParseDuration(a.User)
	begun := time.Now()
	for i := range a.MaxTokens {
		if pace > 0 && i > 0 {
			select {
			case <-time.After(time.Until(begun.Add(time.Duration(i) * pace))):
			case <-r.Context().Done():
				return
			}
		}
		send(event)
	}
	send(last)
	if a.StreamOptions.IncludeUsage {
		send(cost)
	}
	send(done)
}
