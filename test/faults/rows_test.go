//go:build e2e

package faults

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// part is what may be in trouble around the gateway.
type part string

const (
	issuer        part = "identity provider"
	secretManager part = "Secret Manager"
	tokenEndpoint part = "token endpoint"
	redis         part = "Redis"
	upstream      part = "upstream"
)

var parts = []part{issuer, secretManager, tokenEndpoint, redis, upstream}

// The bounds that the gateway promises, and the test sets: of a provider's head, and of a whole request. Where a
// provider alone is in trouble, requests may be short; else they must be longer than what else is waited for.
const (
	headTimeout    = 2 * time.Second
	requestTimeout = 15 * time.Second
	shortRequest   = 5 * time.Second
	fetchBound     = 5 * time.Second  // one request to an issuer
	issuerBound    = 10 * time.Second // discovery and keys
	attemptBound   = 10 * time.Second // Secret Manager and an exchange, together
	tokenLife      = 4 * time.Second  // where tokens are to expire during a fault
	keyPause       = 10 * time.Second // between two fetches of keys
	longestDelay   = 30 * time.Second // after failed exchanges
	atOnce         = time.Second      // where nothing is waited for
	// grace is what a machine that is busy with other things is given beyond each bound.
	grace = 10 * time.Second
)

var paces = map[part]pace{
	issuer:        {300 * time.Millisecond, fetchBound + 2*time.Second, 30 * time.Millisecond},
	secretManager: {300 * time.Millisecond, attemptBound + 2*time.Second, 50 * time.Millisecond},
	tokenEndpoint: {300 * time.Millisecond, attemptBound + 2*time.Second, 50 * time.Millisecond},
	redis:         {10 * time.Millisecond, 300 * time.Millisecond, 10 * time.Millisecond}, // the bound is 50 ms
	upstream:      {300 * time.Millisecond, headTimeout + 2*time.Second, time.Millisecond},
}

// kind is what a caller asks for.
type kind string

const (
	// one is a model of one target, two has another target that no fault is at. Both have a limit of requests.
	one kind = "one"
	two kind = "two"
	// paid is as one, with a budget.
	paid kind = "paid"
	// newcomer is as one, by tokens of a key that the issuer has since the fault began.
	newcomer kind = "newcomer"
)

// answer is how a call may end.
type answer struct {
	status int
	code   string
	// broken says that the answer broke off, visibly.
	broken bool
}

var (
	ok               = answer{status: 200}
	noKeys           = answer{status: 503, code: "issuer_unavailable"}
	noCredential     = answer{status: 503, code: "credential_unavailable"}
	noLimits         = answer{status: 503, code: "limits_unavailable"}
	badGateway       = answer{status: 502, code: "upstream_error"}
	timedOut         = answer{status: 504, code: "upstream_timeout"}
	brokenOff        = answer{status: 200, code: "upstream_error", broken: true}
	brokenByTheBound = answer{status: 200, code: "upstream_timeout", broken: true}
	onlyOK           = []answer{ok}
	lateByTheMachine = noLimits // 50 ms is little on a machine that is busy
)

func (a answer) String() string {
	switch {
	case a.broken:
		return fmt.Sprintf("200, broken off (`%s`)", a.code)
	case a.code != "":
		return fmt.Sprintf("%d `%s`", a.status, a.code)
	}
	return fmt.Sprint(a.status)
}

// situation is a part in trouble, and how the gateway stands when that begins.
type situation struct {
	of   part
	when string
	// cold says that the fault is there before the first call.
	cold bool
	// kinds are what is called, by their names on the page.
	kinds map[kind]string
	// wait is how long calls are made before the fault begins, where that matters.
	wait time.Duration
	// life is that of our access tokens; 0 is an hour.
	life time.Duration
	// unmet says that the fault isn't met at all.
	unmet bool
	// want is how calls may end while the fault is there; the first of them must be seen.
	want func(fault, kind) []answer
	// within bounds a call under the fault, recovers the time from its end to answers as if nothing had been.
	within   func(fault) time.Duration
	recovers time.Duration
}

// unless is ok where an answer is only late, and the error where none can be used.
func unless(ends answer) func(fault, kind) []answer {
	return func(f fault, _ kind) []answer {
		if f == late {
			return onlyOK
		}
		return []answer{ends}
	}
}

func unnoticed(fault, kind) []answer { return onlyOK }

// soon is for what is known as soon as it has happened.
func soon(fault) time.Duration { return atOnce }

// soonOr is the bound where nothing happens that could be known sooner.
func soonOr(bound time.Duration) func(fault) time.Duration {
	return func(f fault) time.Duration {
		switch f {
		case tooLate, silent, vanished, dripped:
			return bound
		case late:
			return 2 * atOnce
		}
		return atOnce
	}
}

var plainly = map[kind]string{one: "one target", two: "two targets"}

var situations = []situation{
	{of: issuer, when: "cold: no keys are held", cold: true, kinds: plainly, want: unless(noKeys),
		within: soonOr(fetchBound), recovers: issuerBound + keyPause},
	{of: issuer, when: "keys are held", kinds: plainly, want: unnoticed, unmet: true, within: soon, recovers: atOnce},
	{of: issuer, when: "keys are held, and some tokens name a newer one", kinds: map[kind]string{newcomer: "these tokens", one: "others"}, wait: keyPause + time.Second,
		want: func(f fault, k kind) []answer {
			if k == newcomer && f != late {
				return []answer{noKeys}
			}
			return onlyOK
		}, within: soonOr(fetchBound), recovers: issuerBound + keyPause},
	{of: secretManager, when: "cold: no secret is held", cold: true, kinds: plainly, want: unless(noCredential),
		within: soonOr(attemptBound), recovers: attemptBound + longestDelay},
	{of: secretManager, when: "a secret is held that is due to be read again, and access tokens expire", life: tokenLife, kinds: plainly, wait: time.Second,
		want: unnoticed, within: soon, recovers: atOnce},
	{of: tokenEndpoint, when: "cold: no token is held", cold: true, kinds: plainly, want: unless(noCredential),
		within: soonOr(attemptBound), recovers: attemptBound + longestDelay},
	{of: tokenEndpoint, when: "a fresh token is held", kinds: plainly, want: unnoticed, unmet: true, within: soon, recovers: atOnce},
	{of: tokenEndpoint, when: "a token is held that expires meanwhile", life: tokenLife, kinds: plainly,
		want: func(f fault, _ kind) []answer {
			if f == late {
				return onlyOK
			}
			return []answer{noCredential, ok} // until it expires
		}, within: soonOr(attemptBound), recovers: attemptBound + longestDelay},
	{of: redis, when: "", kinds: map[kind]string{one: "under a limit of requests", paid: "under a budget"},
		want: func(f fault, k kind) []answer {
			switch {
			case k != paid:
				return onlyOK
			case f == late:
				return []answer{ok, lateByTheMachine}
			}
			return []answer{noLimits}
		}, within: soon, recovers: 5 * time.Second},
	{of: upstream, when: "", kinds: plainly,
		want: func(f fault, k kind) []answer {
			switch {
			case f == broken, f == truncated:
				return []answer{brokenOff}
			case f == vanished:
				return []answer{brokenByTheBound}
			case k == two:
				return onlyOK
			case f == tooLate, f == silent:
				return []answer{timedOut}
			case f == refused, f == garbled:
				return []answer{badGateway}
			}
			return onlyOK
		}, within: func(f fault) time.Duration {
			switch f {
			case tooLate, silent:
				return headTimeout
			case vanished:
				return shortRequest
			case dripped:
				return requestTimeout
			}
			return atOnce
		}, recovers: 5 * time.Second},
}

// inPairs are the situations of which any two are tried together: those in which a part is needed.
func inPairs() []situation {
	var all []situation
	for _, p := range parts {
		all = append(all, situations[slices.IndexFunc(situations, func(s situation) bool { return s.of == p })])
	}
	return all
}

// trouble is one or two parts in trouble at once.
type trouble struct {
	situations []situation
	faults     []fault
}

// singles are every situation with every fault.
func singles() (all []trouble) {
	for _, s := range situations {
		for _, f := range faults {
			all = append(all, trouble{[]situation{s}, []fault{f}})
		}
	}
	return all
}

// pairs are every two parts, nine times: one takes the faults from the first to the last, the other from the last to
// the first, so that each has each fault once.
func pairs() (all []trouble) {
	each := inPairs()
	for i, a := range each {
		for _, b := range each[i+1:] {
			for n, f := range faults {
				all = append(all, trouble{[]situation{a, b}, []fault{f, faults[len(faults)-1-n]}})
			}
		}
	}
	return all
}

func (tr trouble) name() string {
	var names []string
	for i, s := range tr.situations {
		names = append(names, string(s.of)+" "+tr.faults[i].String())
	}
	return strings.Join(append(names, tr.situations[0].when)[:max(2, len(names))], ", ")
}

func (tr trouble) cold() bool {
	return slices.ContainsFunc(tr.situations, func(s situation) bool { return s.cold })
}

// kinds are all that any of the situations is about.
func (tr trouble) kinds() (all []kind) {
	for _, s := range tr.situations {
		all = slices.AppendSeq(all, maps.Keys(s.kinds))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// want is how a call may end: in two troubles as in either, and well only where it would in both.
func (tr trouble) want(k kind) []answer {
	var all []answer
	well := true
	for i, s := range tr.situations {
		want := s.want(tr.faults[i], k)
		well = well && slices.Contains(want, ok)
		all = append(all, want...)
	}
	if !well {
		all = slices.DeleteFunc(all, func(a answer) bool { return a == ok })
	}
	return unique(all)
}

func unique(all []answer) (once []answer) {
	for _, a := range all {
		if !slices.Contains(once, a) {
			once = append(once, a)
		}
	}
	return once
}

// within bounds a call: one trouble may be waited for after the other.
func (tr trouble) within() time.Duration {
	if len(tr.situations) > 1 {
		return tr.request()
	}
	return tr.situations[0].within(tr.faults[0])
}

// recovers is from the end of the last trouble; of two, a call that hangs then is waited for.
func (tr trouble) recovers() time.Duration {
	last := tr.situations[len(tr.situations)-1].recovers
	if len(tr.situations) > 1 {
		last += tr.request()
	}
	return last
}

// request is the configured request_timeout: short where it alone ends calls.
func (tr trouble) request() (d time.Duration) {
	if len(tr.situations) == 1 && tr.situations[0].of == upstream && tr.faults[0] == vanished {
		return shortRequest
	}
	return requestTimeout
}

func (tr trouble) wait() (d time.Duration) {
	for _, s := range tr.situations {
		d = max(d, s.wait)
	}
	return d
}

func (tr trouble) life() (d time.Duration) {
	for _, s := range tr.situations {
		d = cmp.Or(d, s.life)
	}
	return d
}
