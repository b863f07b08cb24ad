// Package bomb is answers that are small on their way, and fill the memory of whoever unpacks them without a bound.
package bomb

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"runtime"
	"sync"
	"testing"
)

// mib is what an answer comes to, unpacked: white space, with which JSON may begin.
const mib = 64

// Packed is the body of an answer, a thousandth of that: members of one MiB, which gzip reads as one.
var Packed = sync.OnceValue(func() []byte {
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	z.Write(bytes.Repeat([]byte(" "), 1<<20))
	z.Close()
	return bytes.Repeat(member.Bytes(), mib)
})

// Answer is one with the status, whether or not the client takes gzip.
func Answer(w http.ResponseWriter, status int) {
	body := Packed()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	w.Write(body)
}

// Disarmed fails the test where do allocates as if it had unpacked much of an answer.
func Disarmed(t testing.TB, do func()) {
	t.Helper()
	Packed()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > mib/4 {
		t.Errorf("%d MiB were allocated for an answer of %d MiB", got, mib)
	}
}
