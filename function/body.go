package function

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
)

// bodyTimeout is the longest that a request's body may take to arrive: max_body's default at about
// 2 Mbit/s. Nobody else bounds it: the framework's server has no timeouts.
const bodyTimeout = 2 * time.Minute

const (
	// firstRead is what a body gets before any of it came.
	firstRead = 32 << 10
	// large is the size from which one body is parsed at a time: strict parsing remembers every name,
	// which may take ten times the body's size.
	large = 1 << 20
)

// bodies reads requests' bodies and bounds what is held of them: each by max_body, all together by
// max_buffered. 80 requests of 32 MiB would be 2.5 GiB.
type bodies struct {
	maxBody int64
	most    int64
	held    atomic.Int64
	// parsing is taken by the one large body that is parsed.
	parsing chan struct{}
}

func newBodies(s config.Server) *bodies {
	return &bodies{maxBody: int64(s.MaxBody), most: int64(s.MaxBuffered), parsing: make(chan struct{}, 1)}
}

// read reads the whole body. release gives back what it holds; it may be called more than once, and
// is never nil.
func (b *bodies) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	var held int64
	release = func() {
		b.held.Add(-held)
		held = 0
	}
	if r.Body == http.NoBody {
		return nil, release, nil
	}
	if r.ContentLength > b.maxBody {
		return nil, release, tooLarge(b.maxBody)
	}
	hold := func(size int64) bool {
		more := min(size, b.maxBody) - held
		if b.held.Add(more) > b.most {
			b.held.Add(-more)
			return false
		}
		held += more
		return true
	}
	// One byte more than is declared or allowed, so that the end is seen without growing.
	most := b.maxBody + 1
	if r.ContentLength >= 0 {
		most = r.ContentLength + 1
	}
	// What a client merely declares is not held for it: it must have begun to send it.
	size := min(firstRead, most)
	if !hold(size) {
		return nil, release, overloaded()
	}
	body = make([]byte, 0, size)
	limited := http.MaxBytesReader(w, r.Body, b.maxBody)
	for {
		if len(body) == cap(body) {
			grown := min(int64(cap(body))*2, most)
			if r.ContentLength >= 0 {
				grown = most // at once: each copy on the way would be held beside the last one
			}
			if !hold(grown) {
				return nil, release, overloaded()
			}
			body = append(make([]byte, 0, grown), body...)
		}
		n, err := limited.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, release, readError(err)
		}
	}
	// Both were for the body. What is read from now on is only whether the client left.
	if len(r.TransferEncoding) == 0 {
		// Beside chunks net/http drops a Content-Length without a trace. Whoever passed the request on may
		// have gone by it, and sent another's body as what follows: so that it is not read (RFC 9112 section 6.1).
		w.Header().Del("Connection")
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, release, nil
}

func readError(err error) error {
	var beyond *http.MaxBytesError
	switch {
	case errors.As(err, &beyond):
		return tooLarge(beyond.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return apierror.New(apierror.RequestTimeout, "the body took longer than %s to arrive", bodyTimeout).Because(err)
	}
	return apierror.New(apierror.InvalidRequest, "the body ended before it was complete, or its framing is broken").Because(err)
}

func tooLarge(limit int64) error {
	return apierror.New(apierror.TooLarge, "the body is larger than the gateway takes, which is %s", config.Bytes(limit))
}

func overloaded() error {
	return apierror.New(apierror.Overloaded, "the gateway holds as many requests' bodies as it can; try again").After(time.Second)
}
