package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// MaxFile bounds the document: a Secret Manager version, from which it is mounted, holds no more.
const MaxFile = 64 << 10

// Load reads the file. Where the second result has faults, the Config holds what could be read of
// it all the same, so that a caller can look for further faults in what it refers to; it must not
// be used for anything else.
func Load(file string) (*Config, Faults) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return &Config{File: file}, Faults{{File: file, Message: err.Error()}}
	}
	data, err := readBounded(abs)
	if err != nil {
		return &Config{File: abs}, Faults{{File: file, Message: err.Error()}}
	}
	return Parse(file, data)
}

// Parse is Load for a document in memory; file names it, and its folder is where relative paths
// begin.
func Parse(file string, data []byte) (*Config, Faults) {
	c := &Config{File: file}
	if len(data) > MaxFile {
		return c, Faults{{File: file, Message: fmt.Sprintf("is larger than %s, the most that a Secret Manager version holds", Bytes(MaxFile))}}
	}
	const start = "start from the example in the README"
	d := newDecoder(file)
	root := d.read(data, start)
	if root == nil {
		return c, d.faults
	}
	c.at = d.at
	d.decode(root, "", reflect.ValueOf(c).Elem())
	if root.Kind != yaml.MappingNode {
		if len(d.faults) == 0 {
			d.fault(root, "", "is empty; %s", start)
		}
		return c, d.faults.Sort()
	}
	c.setDefaults()
	c.resolvePaths()
	if !d.full() {
		(&validator{decoder: d, c: c}).validate()
	}
	return c, d.faults.Sort()
}

// Document is a document that Decode read.
type Document struct {
	file string
	at   map[string]*yaml.Node
}

// Fault is one that whoever gives the document its meaning finds, at a path of it or the nearest thing
// around it.
func (d *Document) Fault(path, format string, args ...any) Fault {
	return faultAt(d.file, d.at, path, format, args...)
}

// Decode fills v, a pointer to a struct, from the YAML document in data, as strictly as Parse does a
// Config; start says what an empty one could begin with. It looks at nothing but types.
func Decode(file string, data []byte, start string, v any) (*Document, Faults) {
	d := newDecoder(file)
	if root := d.read(data, start); root != nil {
		d.decode(root, "", reflect.ValueOf(v).Elem())
	}
	return &Document{file, d.at}, d.faults.Sort()
}

// read returns what the one document in data holds, or nil.
func (d *decoder) read(data []byte, start string) *yaml.Node {
	var doc, next yaml.Node
	stream := yaml.NewDecoder(bytes.NewReader(data))
	if err := stream.Decode(&doc); errors.Is(err, io.EOF) {
		d.faults = Faults{{File: d.file, Line: 1, Column: 1, Message: "is empty; " + start}}
		return nil
	} else if err != nil {
		d.faults = Faults{syntaxFault(d.file, err)}
		return nil
	}
	if err := stream.Decode(&next); err == nil {
		d.fault(&next, "", "is a second document; write all in one")
	} else if !errors.Is(err, io.EOF) {
		d.faults = append(d.faults, syntaxFault(d.file, err))
	}
	return doc.Content[0]
}

// readBounded reads one byte more than Parse accepts, at most.
func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlAnchor is the one text of the document in the parser's errors; it may be a pasted key that begins with *.
var yamlAnchor = regexp.MustCompile(`anchor '.*'`)

// syntaxFault keeps the line of the YAML parser's error; it knows no column.
func syntaxFault(file string, err error) Fault {
	text := yamlAnchor.ReplaceAllString(yamlLine.ReplaceAllString(err.Error(), ""), "anchor")
	f := Fault{File: file, Line: 1, Column: 1, Message: "is not YAML: " + text}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
		f.Line, _ = strconv.Atoi(m[1])
	}
	return f
}

// algorithms are all asymmetric ones of RFC 7518 section 3.1 and RFC 8037. HMAC is not among them:
// with it, whoever knows the public key could sign.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (c *Config) setDefaults() {
	for i := range c.Issuers {
		is := &c.Issuers[i]
		if is.Groups == nil {
			is.Groups = []ClaimPath{"groups", "roles", "/realm_access/roles"}
		}
		if is.ClientID == nil {
			is.ClientID = []string{"client_id", "azp", "appid", "cid", "sub"}
		}
		if is.Algorithms == nil {
			is.Algorithms = algorithms
		}
		setDefault(&is.MaxTokenLifetime, 24*time.Hour)
		setDefault(&is.ClockSkew, 30*time.Second)
	}
	setDefault(&c.Policies.Mode, Enforce)
	for name, m := range c.Models {
		setDefault(&m.OutputEstimate, 1024)
		c.Models[name] = m
	}
	for i := range c.Limits {
		setDefault(&c.Limits[i].Per, PerClient)
		setDefault(&c.Limits[i].TimeZone, "UTC")
	}
	if c.LimitStore.URLEnv == "" {
		setDefault(&c.LimitStore.URL, Memory)
	}
	setDefault(&c.Server.MaxBody, 32<<20)
	setDefault(&c.Server.MaxBuffered, 192<<20)
	setDefault(&c.Server.RequestTimeout, 55*time.Minute)
	setDefault(&c.Server.UpstreamHeaderTimeout, 10*time.Minute)
	setDefault(&c.SecretManager.Refresh, 5*time.Minute)
}

func setDefault[T comparable](v *T, value T) {
	if *v == *new(T) {
		*v = value
	}
}

// resolvePaths makes relative paths relative to the file that holds them.
func (c *Config) resolvePaths() {
	dir := filepath.Dir(c.File)
	resolve := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range c.Issuers {
		resolve(&c.Issuers[i].JWKS.File)
	}
	if c.LimitStore.CA != nil {
		resolve(&c.LimitStore.CA.File)
	}
	for i := range c.Policies.Files {
		resolve(&c.Policies.Files[i])
	}
	for _, cred := range c.Credentials { // the map's values hold pointers
		if cred.ServiceAccountKey != nil {
			resolve(&cred.ServiceAccountKey.From.File)
		}
		if cred.ClientCredentials != nil {
			resolve(&cred.ClientCredentials.ClientSecret.File)
		}
		if cred.APIKey != nil {
			resolve(&cred.APIKey.From.File)
		}
	}
}

func trimSlash(s string) string { return strings.TrimRight(s, "/") }
