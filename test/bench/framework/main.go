// Command framework is the reverse proxy of bare as a function of functions-framework-go.
package main

import (
	"log"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"llmgateway.dev/gateway/test/bench/proxy"
)

func main() {
	handler, err := proxy.New()
	if err != nil {
		log.Fatal(err)
	}
	functions.HTTP("Proxy", handler.ServeHTTP)
	log.Fatal(funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")))
}
