// Package function puts the gateway's parts together. New makes a handler from a configuration;
// Instance is the one of this process.
//
// walk.go is the way of a request, targets.go its choice of a target, limits.go what it may use. own.go holds the endpoints
// that the gateway answers itself, body.go what is held of requests' bodies, warm.go what a cold
// start waits for, instance.go the life of the process.
package function

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"

	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer"
	"llmgateway.dev/gateway/internal/limit"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/relay"
	"llmgateway.dev/gateway/internal/secret"
	"llmgateway.dev/gateway/internal/token"
)

// gateway is the parts, put together.
type gateway struct {
	config   *config.Config
	log      *audit.Log
	issuers  *issuer.Issuers
	policies *policy.Policies
	tokens   *token.Cache
	limits   *limit.Limits
	relay    *relay.Relay
	circuits circuits
	bodies   *bodies
	warmth   warmth
}

// New returns the gateway that c describes. It reads the policy files, and nothing else: no network, no
// secret, no package state. It writes its records to standard error. The error is config.Faults.
func New(c *config.Config) (http.Handler, error) { return Build(c, os.Stderr) }

// Build is New with another place for the records.
func Build(c *config.Config, records io.Writer) (http.Handler, error) {
	log := audit.NewLog(records)
	policies, issuers, faults := read(c, log.Logger)
	if len(faults) > 0 {
		return nil, faults.Sort()
	}
	tokens := token.New(c.Credentials, secret.New(c.SecretManager, log.Logger), log.Logger)
	limits, err := newLimits(c, tokens)
	if err != nil {
		return nil, err
	}
	return &gateway{
		config:   c,
		log:      log,
		issuers:  issuers,
		policies: policies,
		tokens:   tokens,
		limits:   limits,
		relay:    relay.New(c.Server),
		circuits: newCircuits(c.Models, rest),
		bodies:   newBodies(c.Server),
	}, nil
}

// Load is New for a configuration file. It finds the faults of the file and of all that it refers to
// in one run.
func Load(file string) (http.Handler, error) {
	c, faults := config.Load(file)
	if len(faults) == 0 {
		return New(c)
	}
	_, _, further := read(c, audit.NewLog(os.Stderr).Logger)
	return nil, append(faults, further...).Sort()
}

// Read reads a configuration for commands that judge it and don't serve it. The error is config.Faults.
func Read(file string) (*config.Config, *policy.Policies, *issuer.Issuers, error) {
	c, faults := config.Load(file)
	policies, issuers, further := read(c, slog.New(slog.DiscardHandler))
	return c, policies, issuers, append(faults, further...).Sort().Err()
}

// read reads the files that c refers to.
func read(c *config.Config, log *slog.Logger) (*policy.Policies, *issuer.Issuers, config.Faults) {
	policies, faults := policy.Load(c)
	issuers, err := issuer.New(c.Issuers, log)
	if further, ok := errors.AsType[config.Faults](err); ok {
		faults = append(faults, further...)
	} else if err != nil {
		faults = append(faults, config.Fault{File: c.File, Message: err.Error()})
	}
	return policies, issuers, append(faults, limit.Check(c)...)
}

// Check finds the faults that Load would, but for what only the environment of the running gateway has,
// and, where there are none, what may not be meant. It makes nothing of the configuration.
func Check(file string) (warnings config.Faults, err error) {
	c, policies, _, err := Read(file)
	if err != nil {
		return nil, err
	}
	return slices.Concat(issuer.Warnings(c), policies.Warnings(), limit.Warnings(c)).Sort(), nil
}
