//go:build e2e

package faults

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// fault is what a front does to the connections to a part.
type fault int

const (
	none fault = iota
	late
	tooLate
	refused
	broken
	silent
	vanished
	dripped
	truncated
	garbled
)

// faults are all, in the order of the page.
var faults = []fault{late, tooLate, refused, broken, silent, vanished, dripped, truncated, garbled}

var faultNames = [...]string{none: "none", late: "late", tooLate: "too late", refused: "reset", broken: "reset mid-answer", silent: "half-open",
	vanished: "gone mid-answer", dripped: "dripped", truncated: "truncated", garbled: "garbled"}

func (f fault) String() string { return faultNames[f] }

// faultMeanings are for the page.
var faultMeanings = [...]string{
	late:      "each answer is late, within the bound that the gateway sets",
	tooLate:   "each answer is later than that bound",
	refused:   "connections are reset, those that are open when it begins, and those that come as soon as they are accepted",
	broken:    "a connection is reset in the middle of an answer",
	silent:    "connections are accepted, and nothing that is sent over any is ever answered",
	vanished:  "an answer stops in the middle, and the connection stays open: no FIN comes",
	dripped:   "answers come a byte at a time",
	truncated: "a connection is closed cleanly in the middle of an answer",
	garbled:   "the answer is a NUL and the request itself: bytes of no protocol, with every credential that was sent",
}

// pace is how long a front's faults take.
type pace struct{ late, tooLate, drip time.Duration }

// front stands before a part, as a proxy of TCP. Its faults may begin and end while it runs; a connection that one
// has taken stays taken.
type front struct {
	behind   string
	pace     pace
	listener net.Listener
	closed   chan struct{}

	mu     sync.Mutex
	fault  fault
	lines  map[*line]bool
	struck int // how often a fault was met
}

// line is one connection through a front.
type line struct {
	front        *front
	near, far    *net.TCPConn // the gateway's side, and the part's
	left         chan struct{}
	mu           sync.Mutex
	asked, taken bool
	waits        bool   // for an answer
	gone         bool   // the gateway closed it
	said         []byte // what was asked last
}

func newFront(t testing.TB, behind string, p pace) *front {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{behind: behind, pace: p, listener: listener, closed: make(chan struct{}), lines: map[*line]bool{}}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go f.serve(c.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() {
		close(f.closed)
		listener.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		for l := range f.lines {
			l.near.Close()
			l.far.Close()
		}
	})
	return f
}

func (f *front) address() string { return f.listener.Addr().String() }

// begin begins a fault, or with none ends it.
func (f *front) begin(is fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = is
	if is == refused {
		for l := range f.lines {
			f.struck++
			l.reset()
		}
	}
}

// strikes is the fault of now, and counts where there is one.
func (f *front) strikes() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != none {
		f.struck++
	}
	return f.fault
}

// hangs is how many connections the gateway keeps over which an answer is still to come, or will never.
func (f *front) hangs() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.lines {
		l.mu.Lock()
		if !l.gone && (l.taken || l.waits) {
			n++
		}
		l.mu.Unlock()
	}
	return n
}

// met is how often a fault was.
func (f *front) met() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.struck
}

func (f *front) serve(near *net.TCPConn) {
	defer near.Close()
	if f.current() == refused {
		f.strikes()
		near.SetLinger(0)
		return
	}
	far, err := net.Dial("tcp", f.behind)
	if err != nil {
		return
	}
	defer far.Close()
	l := &line{front: f, near: near, far: far.(*net.TCPConn), left: make(chan struct{})}
	f.mu.Lock()
	f.lines[l] = true
	if f.fault == refused { // which has begun meanwhile
		f.struck++
		l.reset()
	}
	f.mu.Unlock()
	go l.requests()
	l.answers()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lines, l)
}

// requests passes on what the gateway sends, until it closes.
func (l *line) requests() {
	defer l.leave()
	buffer := make([]byte, 16<<10)
	for {
		n, err := l.near.Read(buffer)
		if err != nil {
			l.far.Close()
			return
		}
		if l.front.current() == silent {
			l.front.strikes()
			l.take()
		}
		l.mu.Lock()
		if !l.asked {
			l.asked, l.said = true, nil
		}
		l.waits = true
		l.said = append(l.said, buffer[:n]...)
		taken := l.taken
		l.mu.Unlock()
		if !taken {
			l.far.Write(buffer[:n])
		}
	}
}

func (f *front) current() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// answers passes on what the part sends, as the fault of the moment lets it.
func (l *line) answers() {
	buffer := make([]byte, 4<<10)
	for {
		n, err := l.far.Read(buffer)
		if l.isTaken() {
			<-l.left
			return
		}
		if err != nil {
			return
		}
		chunk := buffer[:n]
		l.mu.Lock()
		first, said := l.asked, l.said
		l.asked = false
		l.mu.Unlock()
		switch l.front.strikes() {
		case late:
			if first {
				l.front.sleep(l.front.pace.late)
			}
		case tooLate:
			if first {
				l.front.sleep(l.front.pace.tooLate)
			}
		case silent:
			l.take()
			continue
		case broken:
			if half, cut := middle(chunk); cut {
				l.near.Write(half)
				l.reset()
				return
			}
		case truncated:
			if half, cut := middle(chunk); cut {
				l.near.Write(half)
				return
			}
		case vanished:
			if half, cut := middle(chunk); cut {
				l.near.Write(half)
				l.take()
				continue
			}
		case garbled:
			l.near.Write(append([]byte("\x00 "), said...))
			l.take()
			continue
		case dripped:
			for due := time.Now(); len(chunk) > 0 && l.front.current() == dripped; { // a busy machine's bytes are not later
				if _, err := l.near.Write(chunk[:1]); err != nil {
					return
				}
				chunk = chunk[1:]
				due = due.Add(l.front.pace.drip)
				l.front.sleep(time.Until(due))
			}
		}
		if _, err := l.near.Write(chunk); err != nil {
			return
		}
		l.mu.Lock()
		l.waits = l.asked
		l.mu.Unlock()
	}
}

// middle is the first half of a part of an answer: of its body, where that is in it; a head alone has none.
func middle(chunk []byte) (half []byte, cut bool) {
	head := 0
	if end := bytes.Index(chunk, []byte("\r\n\r\n")); end >= 0 && bytes.HasPrefix(chunk, []byte("HTTP/")) {
		head = end + 4
	}
	if head == len(chunk) {
		return nil, false
	}
	return chunk[:head+(len(chunk)-head)/2], true
}

// take makes sure that nothing passes any more, in either way, though all looks open to the gateway.
func (l *line) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = true
	l.far.Close() // which ends answers' waiting for it
}

// leave is the end of a line that the gateway closed.
func (l *line) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	close(l.left)
}

func (l *line) isTaken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

// reset closes with a RST.
func (l *line) reset() {
	l.near.SetLinger(0)
	l.near.Close()
	l.far.Close()
}

// sleep ends early with the front.
func (f *front) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-f.closed:
	}
}
