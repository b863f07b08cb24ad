package googleapis_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
)

func withBucket(t *testing.T, versioned bool) *cloud {
	c := newCloud(t)
	c.do("POST storage/v1/b?project="+project, object{"name": "acme-bucket", "location": "europe-west4", "versioning": object{"enabled": versioned}})
	return c
}

const bucket = "storage/v1/b/acme-bucket"

// raw is a request with headers, whose answer is no JSON.
func (c *cloud) raw(method, path, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:80/"+path, strings.NewReader(body))
	r.Header = header
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

func TestAFormerGenerationStaysWhereTheBucketIsVersioned(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		c := withBucket(t, versioned)
		first, second := c.upload("acme-bucket", "a%2Fb", "one"), c.upload("acme-bucket", "a%2Fb", "two")
		n, _ := strconv.ParseInt(first, 10, 64)
		got, err := c.Object("acme-bucket", "a/b", n)
		if (err == nil) != versioned || versioned && string(got) != "one" {
			t.Errorf("versioned %v: the former generation is %q, %v", versioned, got, err)
		}
		if got, err := c.Object("acme-bucket", "a/b", 0); err != nil || string(got) != "two" {
			t.Errorf("the live generation is %q, %v", got, err)
		}
		if all := c.Objects(); string(all["gs://acme-bucket/a/b#"+second]) != "two" || string(all["gs://acme-bucket/a/b#"+first]) != map[bool]string{true: "one"}[versioned] {
			t.Errorf("versioned %v: the objects are %q", versioned, all)
		}
		items, _ := c.do("GET "+bucket+"/o?versions=true", nil)["items"].([]any)
		if want := map[bool]int{true: 2, false: 1}[versioned]; len(items) != want {
			t.Errorf("versioned %v: %d generations are listed", versioned, len(items))
		}
		if w := c.raw("GET", "acme-bucket/a/b", "", nil); w.Body.String() != "two" || w.Header().Get("X-Goog-Generation") != second {
			t.Errorf("the XML API answers %q, %v", w.Body, w.Header())
		}
		if w := c.raw("GET", bucket+"/o/a%2Fb?alt=media&generation="+second, "", nil); w.Body.String() != "two" {
			t.Errorf("the JSON API answers %q", w.Body)
		}
		if w := c.raw("GET", "download/"+bucket+"/o/a%2Fb?alt=media", "", nil); w.Body.String() != "two" {
			t.Errorf("the download is %q", w.Body)
		}
		c.do("DELETE "+bucket+"/o/a%2Fb", nil)
		c.refused("GET "+bucket+"/o/a%2Fb", nil, 404, "No such object")
		if status, _ := c.send("DELETE "+bucket, nil); (status == 409) != versioned {
			t.Errorf("versioned %v: the bucket's deletion is answered %d", versioned, status)
		}
	}
}

func TestPreconditionsHoldOrNothingIsWritten(t *testing.T) {
	c := withBucket(t, false)
	const upload = "POST upload/storage/v1/b/acme-bucket/o?uploadType=media&name=lock&ifGenerationMatch="
	generation := c.do(upload+"0", "mine")["generation"].(string)
	c.refused(upload+"0", "theirs", 412, "pre-conditions")
	c.refused("DELETE "+bucket+"/o/lock?ifGenerationMatch=1", nil, 412, "pre-conditions")
	if got, _ := c.Object("acme-bucket", "lock", 0); string(got) != "mine" {
		t.Errorf("the object is %q", got)
	}
	c.do("DELETE "+bucket+"/o/lock?ifGenerationMatch="+generation, nil)
}

func TestUploadsInPartsAndPieces(t *testing.T) {
	c := withBucket(t, false)
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, part := range []struct{ kind, text string }{{"application/json", `{"name":"m","metadata":{"k":"v"}}`}, {"text/plain", "whole"}} {
		p, _ := w.CreatePart(textproto.MIMEHeader{"Content-Type": {part.kind}})
		p.Write([]byte(part.text))
	}
	w.Close()
	if got := c.raw("POST", "upload/storage/v1/b/acme-bucket/o?uploadType=multipart", b.String(), http.Header{"Content-Type": {"multipart/related; boundary='" + w.Boundary() + "'"}}); got.Code != 200 {
		t.Fatal(got.Body)
	}
	if o := c.do("GET "+bucket+"/o/m", nil); o["contentType"] != "text/plain" || at(o, "metadata", "k") != "v" || o["size"] != "5" || o["md5Hash"] == "" {
		t.Errorf("the object is %v", o)
	}

	session := c.raw("POST", "upload/storage/v1/b/acme-bucket/o?uploadType=resumable", `{"name":"r"}`, nil).Header().Get("Location")
	path := session[strings.Index(session, "upload/"):]
	if got := c.raw("PUT", path, "abc", http.Header{"Content-Range": {"bytes 0-2/*"}}); got.Code != 308 || got.Header().Get("Range") != "bytes=0-2" {
		t.Errorf("%d %v", got.Code, got.Header())
	}
	if got := c.raw("PUT", path, "de", http.Header{"Content-Range": {"bytes 3-4/5"}}); got.Code != 200 {
		t.Error(got.Body)
	}
	if got, _ := c.Object("acme-bucket", "r", 0); string(got) != "abcde" {
		t.Errorf("the object is %q", got)
	}
	c.refused("POST upload/storage/v1/b/acme-bucket/o?uploadType=media&name=x&ifGenerationMatch=x", "y", 400, "STRICT")
	c.refused("POST upload/storage/v1/b/none/o?uploadType=media&name=x", "y", 404, "bucket")
}

func TestABucketIsRefusedAsGoogleRefusesIt(t *testing.T) {
	c := withBucket(t, false)
	for body, want := range map[*object]string{
		{"name": "Acme"}:                               "bucket name",
		{"name": "acme-google"}:                        "bucket name",
		{"name": "acme-x", "location": "moon"}:         "location constraint",
		{"name": "acme-x", "labels": object{"A": "b"}}: "label",
		{"name": "acme-x", "lifecycle": object{"rule": []object{{"action": object{"type": "Delete"}, "condition": object{}}}}}: "lifecycle",
	} {
		c.refused("POST storage/v1/b?project="+project, *body, 400, want)
	}
	c.refused("POST storage/v1/b?project="+project, object{"name": "acme-bucket"}, 409, "already exists")
}
