package googleapis

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// storage is Cloud Storage's JSON API, and of the XML API the reading of objects.
func storage() service {
	return service{
		kinds: map[string]kind{"storage.buckets": {short: true, settle: settleBucket}},
		methods: map[string]func(*call) (any, error){
			"storage.buckets.insert":      insertBucket,
			"storage.buckets.delete":      deleteBucket,
			"storage.buckets.list":        listBuckets,
			"storage.anywhereCaches.list": func(*call) (any, error) { return map[string]any{}, nil },
			"storage.objects.insert":      insertObject,
			"storage.objects.get":         getObject,
			"storage.objects.list":        listObjects,
			"storage.objects.delete":      deleteObject,
			"storage.buckets.update":      func(c *call) (any, error) { return nil, unmodelled("%s", c.ID) },
		},
	}
}

// Paths name buckets and objects as b/bucket/o/object and, in the XML API, /bucket/object. A resource is named
// projects/_/buckets/bucket/objects/object#generation.

// storagePath turns the segments of uploads, downloads and of the XML API into those of the JSON API.
func (c *call) storagePath(segments []string) []string {
	switch {
	case segments[0] == "upload" || segments[0] == "download":
		return segments[1:]
	case segments[0] == "storage" && len(segments) > 1 && segments[1] == "v1":
		if segments[len(segments)-1] == "" { // as the provider asks for anywhereCaches
			segments = segments[:len(segments)-1]
		}
		return segments
	case len(segments) > 1 && c.r.Method == http.MethodGet:
		q := c.r.URL.Query()
		q.Set("alt", "media")
		c.r.URL.RawQuery = q.Encode()
		return []string{"storage", "v1", "b", segments[0], "o", strings.Join(segments[1:], "%2F")}
	}
	return segments
}

func bucketName(bucket string) string { return "projects/_/buckets/" + bucket }

// bucketOf is the bucket's resource name in another's, or "".
func bucketOf(name string) string {
	rest, ok := strings.CutPrefix(name, "projects/_/buckets/")
	if words := strings.Split(name, "/"); words[0] == "b" && len(words) > 1 {
		rest, ok = words[1], true
	}
	if !ok {
		return ""
	}
	bucket, _, _ := strings.Cut(rest, "/")
	return bucketName(bucket)
}

// storageName is the resource's name for b/bucket/o/object. An object's may have slashes.
func storageName(path string) string {
	words := strings.SplitN(path, "/", 4)
	name := "projects/_/buckets"
	if len(words) > 1 {
		name += "/" + words[1]
	}
	if len(words) > 2 && words[2] == "o" {
		name += "/objects"
		if len(words) > 3 {
			name += "/" + words[3]
		}
	}
	return name
}

// uploads tells whether the body isn't JSON alone.
func (c *call) uploads() bool { return strings.HasPrefix(c.r.URL.Path, "/upload/") }

var bucketID = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{1,61}[a-z0-9]$`)

func insertBucket(c *call) (any, error) {
	bucket := text(c.body, "name")
	r := &resource{name: bucketName(bucket), kind: "storage.buckets", body: prune(c.body).(map[string]any)}
	if c.resources[r.name] != nil {
		f := exists(r.name).(*fault)
		f.reason = "conflict"
		return nil, f
	}
	switch {
	case c.project == "":
		return nil, strict("a bucket needs a project")
	case !bucketID.MatchString(bucket) || strings.HasPrefix(bucket, "goog") || strings.Contains(bucket, "google") || strings.Contains(bucket, ".."):
		return nil, invalid("Invalid bucket name: '%s'", bucket)
	}
	fill(r.body, map[string]any{
		"kind": "storage#bucket", "id": bucket, "projectNumber": c.projectNumber(c.project), "location": "US", "storageClass": "STANDARD",
		"selfLink": "https://www.googleapis.com/storage/v1/b/" + bucket, "timeCreated": now(), "metageneration": "0",
		"softDeletePolicy": map[string]any{"retentionDurationSeconds": "604800"}, "rpo": "DEFAULT",
		"iamConfiguration": map[string]any{"publicAccessPrevention": "inherited", "uniformBucketLevelAccess": map[string]any{"enabled": false}},
	})
	if seconds := text(r.body, "softDeletePolicy", "retentionDurationSeconds"); seconds != "0" {
		put(r.body, now(), "softDeletePolicy", "effectiveTime")
	}
	return c.store(c.kinds["storage.buckets"], nil, r)
}

func settleBucket(c *call, was, r *resource) error {
	place := strings.ToUpper(text(r.body, "location"))
	one := slices.Contains(regions, strings.ToLower(place))
	if !one && !slices.Contains([]string{"US", "EU", "ASIA", "EUR4", "NAM4", "ASIA1"}, place) {
		return invalid("The specified location constraint is not valid: %s.", place)
	}
	r.body["location"], r.body["locationType"] = place, map[bool]string{true: "region", false: "multi-region"}[one]
	if rules, _ := get(r.body, "lifecycle", "rule").([]any); len(rules) > 100 {
		return invalid("A bucket has 100 lifecycle rules at most.")
	} else {
		for _, rule := range rules {
			if condition, _ := get(rule, "condition").(map[string]any); len(condition) == 0 || text(rule, "action", "type") == "" {
				return invalid("A lifecycle rule needs an action and a condition.")
			}
		}
	}
	meta, _ := strconv.Atoi(text(r.body, "metageneration"))
	r.body["metageneration"], r.body["etag"], r.body["updated"] = strconv.Itoa(meta+1), random(3), now()
	return labelled(r.body)
}

func listBuckets(c *call) (any, error) {
	var items []any
	for _, name := range slices.Sorted(maps.Keys(c.resources)) {
		if r := c.resources[name]; r.kind == "storage.buckets" && r.body["projectNumber"] == c.projectNumber(c.project) {
			items = append(items, c.show(r))
		}
	}
	return map[string]any{"kind": "storage#buckets", "items": items}, nil
}

func deleteBucket(c *call) (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	if len(c.objects(c.name, true)) > 0 {
		return nil, conflict("conflict", "The bucket you tried to delete is not empty.")
	}
	c.remove(r)
	return nil, nil
}

// objects are those of a bucket, by name and age; the live ones, or all generations.
func (c *Cloud) objects(bucket string, versions bool) []*resource {
	var all []*resource
	for name, r := range c.resources {
		if r.kind == "storage.objects" && strings.HasPrefix(name, bucket+"/objects/") && (versions || r.body["timeDeleted"] == nil) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *resource) int {
		return strings.Compare(text(a.body, "name")+"\x00"+text(a.body, "generation"), text(b.body, "name")+"\x00"+text(b.body, "generation"))
	})
	return all
}

// object is the generation of an object, or for 0 the live one; nil where there is none.
func (c *Cloud) object(bucket, name string, generation int64) *resource {
	for _, r := range c.objects(bucketName(bucket), true) {
		if r.body["name"] == name && (r.body["generation"] == strconv.FormatInt(generation, 10) || generation == 0 && r.body["timeDeleted"] == nil) {
			return r
		}
	}
	return nil
}

// Object returns the content of an object's generation, or for 0 the live one.
func (c *Cloud) Object(bucket, name string, generation int64) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.object(bucket, name, generation)
	if r == nil {
		return nil, fmt.Errorf("googleapis: there is no gs://%s/%s#%d", bucket, name, generation)
	}
	return r.data, nil
}

// Objects returns the contents of all objects in all their generations, by gs://bucket/object#generation.
func (c *Cloud) Objects() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string][]byte{}
	for name, r := range c.resources {
		if r.kind == "storage.objects" {
			bucket, object, _ := strings.Cut(strings.TrimPrefix(name, bucketName("")), "/objects/")
			all["gs://"+bucket+"/"+object] = r.data
		}
	}
	return all
}

// target is the bucket and the object that the call names, and the generation in its query.
func (c *call) target() (bucket, object string, generation int64, err error) {
	_, rest, _ := strings.Cut(c.name, "/buckets/")
	bucket, object, _ = strings.Cut(rest, "/")
	_, object, _ = strings.Cut(object, "/")
	if _, err := c.find(bucketName(bucket)); err != nil {
		return "", "", 0, notFound("The specified bucket does not exist.")
	}
	generation, _ = strconv.ParseInt(c.query.Get("generation"), 10, 64)
	return bucket, object, generation, nil
}

// preconditions are those on generations; 0 stands for an object that isn't there.
func (c *call) preconditions(r *resource) error {
	generation, meta := "0", "0"
	if r != nil {
		generation, meta = text(r.body, "generation"), text(r.body, "metageneration")
	}
	for name, holds := range map[string]func(string) bool{
		"ifGenerationMatch":        func(v string) bool { return v == generation },
		"ifGenerationNotMatch":     func(v string) bool { return v != generation },
		"ifMetagenerationMatch":    func(v string) bool { return v == meta },
		"ifMetagenerationNotMatch": func(v string) bool { return v != meta },
	} {
		if c.query.Has(name) && !holds(c.query.Get(name)) {
			f := newFault(http.StatusPreconditionFailed, "FAILED_PRECONDITION", "At least one of the pre-conditions you specified did not hold.")
			f.reason = "conditionNotMet"
			return f
		}
	}
	return nil
}

func insertObject(c *call) (any, error) {
	bucket, _, _, err := c.target()
	if err != nil {
		return nil, err
	}
	switch c.query.Get("uploadType") {
	case "multipart":
		kind, boundary, _ := strings.Cut(c.r.Header.Get("Content-Type"), "boundary=") // which gcloud has in single quotes
		parts := multipart.NewReader(bytes.NewReader(c.content), strings.Trim(boundary, `"'`))
		first, err := parts.NextPart()
		if !strings.HasPrefix(kind, "multipart/related;") || err != nil {
			return nil, strict("the upload is no multipart/related")
		}
		about, _ := io.ReadAll(first)
		second, err := parts.NextPart()
		if err != nil {
			return nil, strict("the upload has no second part")
		}
		data, err := io.ReadAll(second)
		if err != nil {
			return nil, strict("the upload is cut short")
		}
		if c.body, err = c.parse(about); err != nil {
			return nil, err
		}
		return c.upload(bucket, second.Header.Get("Content-Type"), data)
	case "media":
		c.body = map[string]any{}
		return c.upload(bucket, c.r.Header.Get("Content-Type"), c.content)
	case "resumable":
		return c.resume(bucket)
	}
	return nil, strict("an object needs the uploadType media, multipart or resumable")
}

// resume begins a resumable upload, or takes its next piece (cloud.google.com/storage/docs/performing-resumable-uploads).
func (c *call) resume(bucket string) (any, error) {
	session := c.resources["upload/"+c.session]
	if c.r.Method == http.MethodPost {
		if len(c.content) == 0 {
			c.content = []byte("{}")
		}
		body, err := c.parse(c.content)
		if err != nil {
			return nil, err
		}
		id := random(24)
		c.resources["upload/"+id] = &resource{name: "upload/" + id, kind: "operation", body: body}
		q := c.r.URL.Query()
		q.Set("upload_id", id)
		if name := text(body, "name"); name != "" {
			q.Set("name", name)
		}
		scheme := "http"
		if c.r.TLS != nil {
			scheme = "https"
		}
		c.w.Header().Set("Location", (&url.URL{Scheme: scheme, Host: c.r.Host, Path: c.r.URL.Path, RawQuery: q.Encode()}).String())
		c.w.WriteHeader(http.StatusOK)
		return written, nil
	}
	if session == nil {
		return nil, notFound("There is no such upload.")
	}
	session.data = append(session.data, c.content...)
	if all := c.r.Header.Get("Content-Range"); strings.HasSuffix(all, "/*") {
		c.w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(session.data)-1))
		c.w.WriteHeader(http.StatusPermanentRedirect)
		return written, nil
	}
	delete(c.resources, session.name)
	c.body = session.body
	return c.upload(bucket, text(session.body, "contentType"), session.data)
}

func (c *call) upload(bucket, contentType string, data []byte) (any, error) {
	name := text(c.body, "name")
	if name == "" {
		name = c.query.Get("name")
	}
	if name == "" || len(name) > 1024 || strings.HasPrefix(name, ".well-known/acme-challenge/") || strings.ContainsAny(name, "\r\n") {
		return nil, invalid("Invalid object name: '%s'", name)
	}
	former := c.object(bucket, name, 0)
	if err := c.preconditions(former); err != nil {
		return nil, err
	}
	sum, crc := md5.Sum(data), make([]byte, 4)
	binary.BigEndian.PutUint32(crc, checksum(data))
	hash, crcText := base64.StdEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(crc)
	if given := text(c.body, "md5Hash"); given != "" && given != hash {
		return nil, invalid("Provided MD5 hash \"%s\" doesn't match calculated MD5 hash \"%s\".", given, hash)
	}
	if given := text(c.body, "crc32c"); given != "" && given != crcText {
		return nil, invalid("Provided CRC32C \"%s\" doesn't match calculated CRC32C \"%s\".", given, crcText)
	}
	if former != nil && !c.may(c.caller, "storage.objects.delete", former.name) {
		return nil, denied("%s does not have storage.objects.delete access to the Google Cloud Storage object %s.", c.caller, name)
	}
	if former != nil {
		c.supersede(bucket, former)
	}
	generation := strconv.Itoa(1700000000000000 + c.number())
	r := &resource{name: bucketName(bucket) + "/objects/" + name + "#" + generation, kind: "storage.objects", data: data, body: prune(c.body).(map[string]any)}
	if contentType != "" {
		fill(r.body, map[string]any{"contentType": contentType})
	}
	fill(r.body, map[string]any{"storageClass": "STANDARD"})
	maps.Copy(r.body, map[string]any{
		"kind": "storage#object", "id": bucket + "/" + name + "/" + generation, "name": name, "bucket": bucket, "generation": generation,
		"metageneration": "1", "size": strconv.Itoa(len(data)), "md5Hash": hash, "crc32c": crcText, "etag": random(6),
		"timeCreated": now(), "updated": now(), "selfLink": "https://www.googleapis.com/storage/v1/b/" + bucket + "/o/" + url.PathEscape(name),
		"mediaLink": "https://storage.googleapis.com/download/storage/v1/b/" + bucket + "/o/" + url.PathEscape(name) + "?generation=" + generation + "&alt=media",
	})
	c.resources[r.name], c.touched = r, r.name
	return c.show(r), nil
}

// supersede makes the live generation a noncurrent one, or ends it where the bucket keeps none.
func (c *call) supersede(bucket string, live *resource) {
	if get(c.resources[bucketName(bucket)].body, "versioning", "enabled") == true {
		live.body["timeDeleted"] = now()
	} else {
		delete(c.resources, live.name)
	}
}

func getObject(c *call) (any, error) {
	bucket, name, generation, err := c.target()
	if err != nil {
		return nil, err
	}
	r := c.object(bucket, name, generation)
	if r == nil {
		return nil, notFound("No such object: %s/%s", bucket, name)
	}
	if err := c.preconditions(r); err != nil {
		return nil, err
	}
	if c.query.Get("alt") != "media" {
		return c.show(r), nil
	}
	h := c.w.Header()
	h.Set("Content-Type", text(r.body, "contentType"))
	h.Set("Content-Length", strconv.Itoa(len(r.data)))
	h.Set("ETag", strconv.Quote(text(r.body, "etag")))
	h.Set("X-Goog-Generation", text(r.body, "generation"))
	h.Set("X-Goog-Metageneration", text(r.body, "metageneration"))
	h.Set("X-Goog-Hash", "crc32c="+text(r.body, "crc32c")+",md5="+text(r.body, "md5Hash"))
	if updated, err := time.Parse(time.RFC3339Nano, text(r.body, "updated")); err == nil {
		h.Set("Last-Modified", updated.Format(http.TimeFormat))
	}
	c.w.Write(r.data)
	return written, nil
}

func listObjects(c *call) (any, error) {
	bucket, _, _, err := c.target()
	if err != nil {
		return nil, err
	}
	prefix, delimiter := c.query.Get("prefix"), c.query.Get("delimiter")
	var items, prefixes []any
	for _, r := range c.objects(bucketName(bucket), c.query.Get("versions") == "true") {
		name := text(r.body, "name")
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if folder, _, below := strings.Cut(rest, delimiter); delimiter != "" && below {
			if p := prefix + folder + delimiter; !slices.Contains(prefixes, any(p)) {
				prefixes = append(prefixes, p)
			}
			continue
		}
		items = append(items, c.show(r))
	}
	return map[string]any{"kind": "storage#objects", "items": items, "prefixes": prefixes}, nil
}

func deleteObject(c *call) (any, error) {
	bucket, name, generation, err := c.target()
	if err != nil {
		return nil, err
	}
	r := c.object(bucket, name, generation)
	if r == nil {
		return nil, notFound("No such object: %s/%s", bucket, name)
	}
	if err := c.preconditions(r); err != nil {
		return nil, err
	}
	c.touched = r.name
	if generation != 0 {
		delete(c.resources, r.name)
	} else {
		c.supersede(bucket, r)
	}
	return nil, nil
}
