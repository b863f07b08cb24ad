package upstreamtest

import "net/http"

// learn.microsoft.com/azure/foundry/openai/api-version-lifecycle and …/openai/latest

// NewAzure starts an Azure OpenAI resource: OpenAI's API at /openai/v1, to requests that present
// what is valid either as api-key or as bearer token, and either name the api-version preview or none.
func NewAzure(valid func(credential string) bool) *Server {
	s := newServer(valid)
	mux := http.NewServeMux()
	mux.Handle("/openai/v1/", http.StripPrefix("/openai", s.openAI()))
	mux.HandleFunc("/", unknownURL)
	s.start(currentAPI(mux), keyOrToken, func(w http.ResponseWriter, _ *http.Request) {
		fail(w, 401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
	})
	s.URL += "/openai/v1"
	return s
}

func keyOrToken(r *http.Request) (string, bool) {
	if key, ok := alone(r, "Api-Key"); ok {
		return key, true
	}
	return aloneBearer(r)
}

// currentAPI refuses the dated versions, which are of the API before v1.
func currentAPI(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, version := range r.URL.Query()["api-version"] {
			if version != "preview" {
				fail(w, 400, "BadRequest", "API version not supported")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
