package limit

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"llmgateway.dev/gateway/internal/config"
)

// shared keeps counts in a Redis, by one script: all counts of a request change at once, or none, by the
// server's clock.
type shared struct {
	client     *redis.Client
	credential Credential
	lease      time.Duration
	// within is the longest that a request waits for an answer.
	within time.Duration
}

//go:embed count.lua
var source string

var script = redis.NewScript(source)

const (
	// connecting bounds what makes a connection; requests wait for it no longer than for anything else of the store's.
	connecting = 2 * time.Second
	// patience is for what no request waits for; those bring a context of their own.
	patience = 10 * time.Second
	// idle is short because an instance that was frozen finds its connections dead.
	idle = 10 * time.Second
)

// address is the store's, from the configuration or from the environment. What is wrong with it never
// quotes it: it may hold a password.
func address(c *config.Config) (*url.URL, *config.Fault) {
	from, text := "limit_store.url", c.LimitStore.URL
	wrong := func(format string, args ...any) (*url.URL, *config.Fault) {
		f := c.Fault(from, format, args...)
		return nil, &f
	}
	if name := c.LimitStore.URLEnv; name != "" {
		from, text = "limit_store.url_env", os.Getenv(name)
		if text == "" {
			return wrong("the environment variable %s is not set", name)
		} else if text == config.Memory {
			return wrong("the address in %s is memory, which is no Redis; leave limit_store out", name)
		} else if err := config.CheckStoreURL(text); err != nil {
			return wrong("the address in %s %v", name, err)
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return wrong("is no URL")
	}
	return u, nil
}

// newRedis makes the client of the configured store. Its error is config.Faults.
func newRedis(c *config.Config, within, lease time.Duration, credential Credential) (*shared, error) {
	s := c.LimitStore
	u, fault := address(c)
	if fault != nil {
		return nil, config.Faults{*fault}
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	o := &redis.Options{
		Addr:                     net.JoinHostPort(u.Hostname(), port),
		Protocol:                 2, // nothing of 3 is used
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1, // a script that was run must not be run again
		DialerRetries:            1,
		DialTimeout:              connecting,
		ReadTimeout:              patience,
		WriteTimeout:             patience,
		PoolTimeout:              patience,
		ContextTimeoutEnabled:    true,
		ConnMaxIdleTime:          idle,
		ReadBufferSize:           4 << 10,
		WriteBufferSize:          4 << 10,
		PipelinePoolSize:         -1,
	}
	o.DB, _ = strconv.Atoi(strings.TrimPrefix(u.Path, "/"))
	if u.Scheme == "rediss" {
		o.TLSConfig = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		var err error
		if o.TLSConfig.RootCAs, err = roots(s.CA); err != nil {
			return nil, config.Faults{c.Fault("limit_store.ca", "%v", err)}
		}
	}
	store := &shared{within: within, lease: lease, credential: credential}
	switch {
	case s.Credential != "":
		o.CredentialsProviderContext = func(ctx context.Context) (string, string, error) {
			password, err := credential(ctx)
			return u.User.Username(), password, err
		}
	default:
		store.credential = nil
		o.Username = u.User.Username()
	}
	logging.Disable() // it writes past the audit log's form; every failure is in a record
	store.client = redis.NewClient(o)
	return store, nil
}

// roots are those who may sign the server's certificate; nil is whom the machine trusts.
func roots(from *config.Certificates) (*x509.CertPool, error) {
	if from == nil {
		return nil, nil
	}
	var pem []byte
	where := "file " + from.File
	if from.Env != "" {
		where, pem = "environment variable "+from.Env, []byte(os.Getenv(from.Env))
	} else {
		var err error
		if pem, err = os.ReadFile(from.File); err != nil {
			return nil, err
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", where)
	}
	return pool, nil
}

// warm makes a connection, with the time that takes where no request waits for it.
func (s *shared) warm(ctx context.Context) {
	if s.credential != nil {
		s.credential(ctx) // or the connection would be late for it
	}
	ctx, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	s.client.Ping(ctx) // a request will say what is wrong
}

func (s *shared) name() string { return rand.Text() }

func (s *shared) take(ctx context.Context, id string, charges []charge) (bool, []level, time.Time, error) {
	return s.run(ctx, "take", id, charges, nil)
}

func (s *shared) settle(ctx context.Context, id string, charges []charge, used []int64, late bool) ([]level, error) {
	what := "settle"
	if late { // no request waits for it
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, levels, _, err := s.ask(ctx, "settle late", id, charges, used)
		return levels, err
	}
	_, levels, _, err := s.run(ctx, what, id, charges, used)
	return levels, err
}

func (s *shared) peek(ctx context.Context, charges []charge) ([]level, time.Time, error) {
	_, levels, now, err := s.run(ctx, "peek", "", charges, nil)
	return levels, now, err
}

// run is ask, as long as a request waits.
func (s *shared) run(ctx context.Context, what, id string, charges []charge, used []int64) (done bool, levels []level, now time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	return s.ask(ctx, what, id, charges, used)
}

func (s *shared) ask(ctx context.Context, what, id string, charges []charge, used []int64) (done bool, levels []level, now time.Time, err error) {
	keys := make([]string, 0, 2*len(charges))
	args := make([]any, 0, 3+6*len(charges))
	args = append(args, what, id, s.lease.Microseconds())
	for i := range charges {
		c := &charges[i]
		key := c.at.key()
		keys = append(keys, key, key+":held")
		var spent, from, until int64
		if used != nil {
			spent = used[i]
		}
		if c.kind.isBudget() {
			from, until = c.from.UnixMicro(), c.until.UnixMicro()
		}
		args = append(args, c.kind.String(), c.most, c.amount, spent, from, until)
	}
	answer, err := script.Run(ctx, s.client, keys, args...).Int64Slice()
	if err != nil {
		return false, nil, time.Time{}, err
	}
	if len(answer) < 2 {
		return false, nil, time.Time{}, errors.New("the script's answer is too short")
	}
	now = time.UnixMicro(answer[1])
	if answer[0] < 0 {
		return false, nil, now, errPeriod
	}
	if len(answer) != 2+2*len(charges) {
		return false, nil, now, errors.New("the script's answer is too short")
	}
	levels = make([]level, len(charges))
	for i := range levels {
		levels[i] = level{used: answer[2+2*i], held: answer[3+2*i]}
	}
	return answer[0] == 1, levels, now, nil
}
