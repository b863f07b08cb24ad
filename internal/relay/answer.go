package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/operation"
)

// Outcome is what became of an answer, for the audit record.
type Outcome struct {
	Status int
	// Bytes are those of the body that were passed on.
	Bytes int64
	// FirstByte is when the first of them was; zero where there was none.
	FirstByte time.Time
	// Model is the model that the upstream says answered.
	Model string
	// Usage is nil where the answer told none, or one that can't be.
	Usage *Usage
	// Final says that Usage is the answer's last word: it counts even where the client left just then.
	// Opening says that it is only what a stream told when it began (Anthropic's).
	Final, Opening bool
	// OutputTokens is an estimate of what was passed on, where it is text; for answers that tell no usage.
	OutputTokens int64
	// UpstreamRequestID is the upstream's own id of the call.
	UpstreamRequestID string
	// Echoed says that the answer, an error, quoted our credential, which was taken out.
	Echoed bool
	// Err is why the answer broke off, or nil: context.Canceled where the client left, else an
	// *apierror.Error.
	Err error

	absurd bool
}

// buffers are shared by all answers. A stream's is as small as net/http's own, from which it is filled: it is held as
// long as the stream lasts, and an instance may have a thousand.
var (
	buffers       = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}
	streamBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
)

// Copy passes the answer on and closes it. The status is the upstream's own. When the answer breaks
// off, the client's connection is unusable after.
func (a *Answer) Copy(ctx context.Context, w http.ResponseWriter) *Outcome {
	defer a.Body.Close()
	// A client that stopped reading blocks a write that no context reaches.
	defer context.AfterFunc(ctx, func() { http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Second)) })()
	o := &Outcome{Status: a.StatusCode, UpstreamRequestID: a.Header.Get("X-Request-Id")}
	copyHeader(w.Header(), a.Header)

	media := mediaType(a.Header.Get("Content-Type"))
	readable := a.Header.Get("Content-Encoding") == ""
	stream := media == "text/event-stream" && readable
	if !stream && a.ContentLength >= 0 {
		w.Header()["Content-Length"] = []string{strconv.FormatInt(a.ContentLength, 10)}
	}
	// An upstream's HTML must not be a page of the gateway's origin.
	w.Header()["X-Content-Type-Options"] = nosniff
	if w.Header()["Content-Type"] == nil {
		w.Header()["Content-Type"] = nil // or net/http would guess one
	}
	w.WriteHeader(a.StatusCode)

	out := &writer{w: w, flush: http.NewResponseController(w).Flush, o: o, eager: a.mayTrickle(media)}
	pool := &buffers
	if stream {
		pool = &streamBuffers
	}
	r := pool.Get().(*bufio.Reader)
	r.Reset(a.Body)
	defer func() { r.Reset(nil); pool.Put(r) }()

	var err error
	switch {
	case stream:
		err = a.copyEvents(ctx, out, r)
	case media == "application/json" && readable && a.StatusCode < 300 && a.call.ReadsUsage:
		told := &scanner{o: o}
		out.told = told
		_, err = io.Copy(out, r)
		o.OutputTokens = operation.TextTokens(o.Bytes)
		if err == nil && told.cut() && a.endsByClosing() {
			err = io.ErrUnexpectedEOF // nothing but its own end tells such an answer from a cut one
		}
	default:
		_, err = io.Copy(out, r)
	}
	if err != nil {
		o.Err = a.broken(ctx, out, err)
		a.abort(w, stream, o.Err)
	}
	o.Echoed = a.scrubbed != nil && a.scrubbed.found
	return o
}

var nosniff = []string{"nosniff"}

// mediaType is a Content-Type without its parameters, in lower case (RFC 9110 section 8.3.1).
func mediaType(header string) string {
	media, _, _ := strings.Cut(header, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// copyEvents passes a stream on. An event is flushed when it is whole; those that came together, together.
func (a *Answer) copyEvents(ctx context.Context, out *writer, r *bufio.Reader) error {
	if err := out.flush(); err != nil { // the head: a client may wait for it alone
		return clientLeft{err}
	}
	stream := newEvents(r)
	if mark := stream.mark(); len(mark) > 0 {
		if _, err := out.Write(mark); err != nil {
			return err
		}
	}
	var output texts
	defer func() { out.o.OutputTokens = output.tokens() }()
	finished := false
	for {
		event, whole, err := stream.next()
		hide := whole && readEvent(event, out.o) && a.call.HidesUsage
		// Some servers leave out the empty line after the last event.
		whole = whole || err == io.EOF && bytes.Equal(data(event), done)
		if whole && a.endsByClosing() { // or its framing tells the end
			finished = finished || isLast(event)
		}
		// What is left of an unfinished event is for nobody: the empty line before the error event would
		// end it, and SDKs fail to parse it before they come to the error.
		unfinished := err != nil && !whole && !stream.open
		if len(event) > 0 && !hide && !unfinished {
			if _, werr := out.Write(event); werr != nil {
				return werr
			}
			if a.call.CountsOutput {
				output.add(event)
			}
		}
		if !stream.more() {
			if werr := out.flush(); werr != nil {
				return clientLeft{werr}
			}
		}
		switch {
		case err == io.EOF && (len(event) > 0 && !whole || stream.open):
			return io.ErrUnexpectedEOF // the stream ended inside an event
		case err == io.EOF && a.endsByClosing() && !finished:
			return io.ErrUnexpectedEOF // nothing but its last event tells such an end from a death
		case err == io.EOF:
			return nil
		case ctx.Err() != nil && len(event) == 0 && isLast(stream.before):
			return nil // a client that has read the last event may leave: its answer was whole
		case err != nil:
			return err
		}
	}
}

// mayTrickle reports whether an answer that is no stream of events may come bit by bit all the same:
// audio, or the array that is a stream of Google's.
func (a *Answer) mayTrickle(media string) bool {
	return a.ContentLength < 0 && media != "text/event-stream" && (media != "application/json" || a.call.Dialect == apierror.Google)
}

// endsByClosing reports whether the answer's framing says nothing of its end (RFC 9112 section 6.3, item 8).
func (a *Answer) endsByClosing() bool {
	return a.ProtoMajor == 1 && a.ContentLength < 0 && len(a.TransferEncoding) == 0
}

// broken turns what ended a copy into what the audit record and the client are told.
func (a *Answer) broken(ctx context.Context, out *writer, err error) error {
	var left clientLeft
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &left):
		return context.Canceled
	}
	return apierror.New(apierror.UpstreamError, "the upstream broke off its answer; what came is incomplete").Because(cause(err))
}

// abort makes the end visible. functions-framework-go recovers every panic, http.ErrAbortHandler
// included, and ends the body cleanly; a write deadline in the past makes net/http's own
// last write fail, so that it closes the connection instead.
func (a *Answer) abort(w http.ResponseWriter, stream bool, err error) {
	rc := http.NewResponseController(w)
	if e, ok := errors.AsType[*apierror.Error](err); ok && stream {
		// The upstream may have died within an event; an empty line ends it.
		w.Write([]byte("\n\n"))
		w.Write(apierror.Event(a.call.Dialect, w.Header().Get("X-Request-Id"), e))
	}
	rc.Flush()
	rc.SetWriteDeadline(time.Unix(1, 0))
	w.Write([]byte("\n")) // so that there is something left to write, and to fail
	rc.Flush()
}

// clientLeft marks a write error: the client is gone.
type clientLeft struct{ error }

// writer counts what goes to the client.
type writer struct {
	w     io.Writer
	flush func() error
	o     *Outcome
	// eager flushes each write.
	eager bool
	// told learns from what went by; nil where there is nothing to learn.
	told *scanner
	err  error
}

func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.o.FirstByte.IsZero() && len(p) > 0 {
		w.o.FirstByte = time.Now()
	}
	n, err := w.w.Write(p)
	w.o.Bytes += int64(n)
	if w.told != nil {
		w.told.read(p[:n])
	}
	if err == nil && w.eager {
		err = w.flush()
	}
	if err != nil {
		w.err = clientLeft{err}
	}
	return n, w.err
}
