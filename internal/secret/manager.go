package secret

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/compute/metadata"
	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
)

// maxAnswer bounds an answer of Secret Manager: MaxSize in base64, and room around it.
const maxAnswer = MaxSize*4/3 + 16<<10

// manager reads from Secret Manager. Its client is made when it is first needed; a failure to make it
// is not kept, so that the next read tries again.
type manager struct {
	endpoint string

	mu     sync.Mutex
	client *secretmanager.Client
}

// access returns one version of a secret, checked as Google recommends:
// cloud.google.com/secret-manager/docs/data-integrity.
func (m *manager) access(ctx context.Context, name string) (value, error) {
	client, err := m.connect(ctx)
	if err != nil {
		return value{}, err
	}
	// The client's own retries would hold the waiting requests for seconds; Store's delays do instead.
	answer, err := client.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: name},
		gax.WithRetry(func() gax.Retryer { return nil }))
	if err != nil {
		return value{}, refusal(ctx, err)
	}
	payload := answer.GetPayload()
	data := payload.GetData()
	switch {
	case answer.GetName() == "":
		return value{}, errors.New("the answer names no version")
	case payload == nil || payload.DataCrc32C == nil || int64(crc32.Checksum(data, castagnoli)) != payload.GetDataCrc32C():
		return value{}, errors.New("the answer's checksum is missing or wrong")
	}
	if err := checkSize(data); err != nil {
		return value{}, err
	}
	return value{data: hidden.New(string(data)), version: answer.GetName()}, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// connect returns the client, made with Application Default Credentials, or without any where the
// endpoint is this machine: a token must not be sent to whatever listens there.
//
// It is the REST client because gRPC keeps a connection with goroutines of its own, which a
// frozen instance can't serve; this one holds nothing between two reads.
func (m *manager) connect(ctx context.Context) (*secretmanager.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		return m.client, nil
	}
	// Silent, because at GOOGLE_SDK_GO_LOGGING_LEVEL=debug the client logs whole answers.
	silent := slog.New(slog.DiscardHandler)
	// Reads are minutes apart, and a connection doesn't survive its instance being frozen.
	transport := http.RoundTripper(capped{&http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}})
	options := []option.ClientOption{option.WithLogger(silent)}
	if m.endpoint != "" {
		options = append(options, option.WithEndpoint(m.endpoint))
	}
	if u, err := url.Parse(m.endpoint); err == nil && config.IsLoopback(u.Hostname()) {
		options = append(options, option.WithoutAuthentication())
	} else {
		authorized, err := httptransport.NewClient(&httptransport.Options{
			BaseRoundTripper: transport,
			DetectOpts: &credentials.DetectOptions{
				Scopes:              secretmanager.DefaultAuthScopes(),
				DisableAsyncRefresh: true, // each read is a goroutine of its own already
			},
			DisableTelemetry: true,
			Logger:           silent,
		})
		if err != nil {
			return nil, noCredentials(err)
		}
		transport = authorized.Transport
	}
	// A redirect is not followed: the transport would put the token on that request too.
	client, err := secretmanager.NewRESTClient(ctx, append(options, option.WithHTTPClient(&http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))...)
	if err != nil {
		return nil, err
	}
	m.client = client
	return client, nil
}

// capped cuts answers short at maxAnswer; what is left is not JSON any more. The generated client
// alone reads without end.
type capped struct{ http.RoundTripper }

func (c capped) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// refusal says what went wrong in words of our own: the client's error may hold the answer, and
// with it the secret.
func refusal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer from Secret Manager within %s", attempt)
	}
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		hint := ""
		switch e.Code {
		case http.StatusBadRequest:
			hint = "; the version may be disabled or destroyed"
		case http.StatusForbidden:
			hint = "; the gateway's service account needs roles/secretmanager.secretAccessor on this secret"
		case http.StatusNotFound:
			hint = "; there is no such secret or version"
		}
		return fmt.Errorf("answer of Secret Manager has status %d%s", e.Code, hint)
	}
	if e, ok := errors.AsType[*auth.Error](err); ok && e.Response != nil {
		return fmt.Errorf("no access token for Secret Manager: status %d", e.Response.StatusCode)
	}
	if e, ok := errors.AsType[*metadata.Error](err); ok {
		return fmt.Errorf("no access token for Secret Manager: metadata server has status %d", e.Code)
	}
	// The text of these is the operating system's and TLS's own.
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	return errors.New("no usable answer from Secret Manager")
}

func noCredentials(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("no Application Default Credentials: %w", e)
	}
	return errors.New("no Application Default Credentials; deploy with a service account or set GOOGLE_APPLICATION_CREDENTIALS")
}
