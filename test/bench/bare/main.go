// Command bare is net/http/httputil's reverse proxy and nothing else, on loopback at PORT.
package main

import (
	"log"
	"net/http"
	"os"

	"llmgateway.dev/gateway/test/bench/proxy"
)

func main() {
	handler, err := proxy.New()
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler))
}
