# make, or make test: everything that needs only Go.
.DEFAULT_GOAL := test
FUZZTIME ?= 30s
SOAKTIME ?= 30m
.PHONY: help demo test fuzz e2e soak test-terraform bench lint archive sbom vulncheck

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: ## plays the whole story on this machine, and stays up
	go run ./function/cmd/gateway demo

test: ## unit tests and scenarios, with the race detector; needs only Go
	go test -race -timeout 10m ./...

# A target's package and name. The time that Go takes to make an input small is time not spent on others.
fuzz: ## every fuzz target for FUZZTIME (30s); what one finds is kept under testdata/fuzz, where make test tries it too
	@found=; for target in $$(git grep --untracked '^func Fuzz' '*_test.go' | sed 's,/[^/]*:func \([A-Za-z]*\).*,:\1,'); do \
		echo "== $$target"; \
		go test -run '^$$' -fuzz "^$${target#*:}\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $(FUZZFLAGS) "./$${target%:*}" || found="$$found $$target"; \
	done; [ -z "$$found" ] || { echo "found:$$found"; exit 1; }

# One package after the other: some hold bounds of 50 ms, or of memory, for which two of them at once are too much.
e2e: ## the built function with Keycloak, SDKs, a provider mock and Redis; installs them under .cache/
	go test -tags e2e -count=1 -p 1 -timeout 30m ./test/...

soak: ## the built function in 512 MiB under mixed load for SOAKTIME (30m), and a million junk tokens; make e2e has it for a minute
	go test -tags e2e -count=1 -v -timeout 24h ./test/soak -during $(SOAKTIME) -junk 1000000

test-terraform: ## terraform/ and cloudbuild.yaml with the genuine provider (built once under .cache/, 5 minutes) and a double of Google
	go test -tags terraform -count=1 -parallel 8 -timeout 40m ./test/terraform ./test/delivery ./test/rotation

bench: ## what the gateway costs beside its peers, into docs/bench/; installs them under .cache/, a quarter of an hour
	go run ./test/bench -out docs/bench
	go test ./test/bench -run Capacity -update

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	go vet ./...
	go vet -tags e2e,terraform ./test/...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags e2e,terraform ./...

archive: ## the upload that Google builds the function from: dist/function.zip, and its hash for Terraform
	go run ./test/archive -o dist/function.zip

sbom: ## what the function is made of, as CycloneDX has it: dist/sbom.cdx.json
	go run ./test/archive -o dist/function.zip -program dist/function
	go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -output dist/sbom.cdx.json dist/function

VULNDB = https://vuln.go.dev

# Its statuses: 0 for none, 3 for some, anything else where nothing was checked.
vulncheck: ## known vulnerabilities that the code reaches, by govulncheck; needs the internet
	GOBIN=$(CURDIR)/.cache/bin go install golang.org/x/vuln/cmd/govulncheck@v1.9.0
	@.cache/bin/govulncheck -db $(VULNDB) ./...; status=$$?; \
	if [ $$status -ne 0 ] && [ $$status -ne 3 ]; then echo "vulncheck: nothing was checked; it takes $(VULNDB), which must be reachable" >&2; fi; exit $$status
