package bomb

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// An ordinary client unpacks all of it, and is found.
func TestAnAnswerGoesOffWhereNothingBoundsIt(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { Answer(w, 200) }))
	defer server.Close()
	if size := len(Packed()); size > 2<<20 {
		t.Errorf("%d bytes are sent", size)
	}
	found := &recorder{TB: t}
	Disarmed(found, func() {
		resp, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); len(body) != mib<<20 || err != nil {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	})
	if !found.failed {
		t.Error("nothing was found")
	}
}

// recorder keeps a failure to itself.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
