// Package trial asks policies about clients and requests that aren't there, so that people see what
// their policies mean before they are in force.
//
// A file of cases says who asks for what, and what must come of it; it is decoded as strictly as a
// configuration is, and every name in it must be one that exists. Nothing here decides: that is done
// by the very policies that will decide on the requests.
package trial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	strict "github.com/go-json-experiment/json"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/principal"
)

// Mapper says which client a token with these claims would speak for.
type Mapper interface {
	Map(claims []byte) (*principal.Principal, error)
}

// Who is a client that is supposed: by the claims of its token, or by its groups as policies name
// them.
type Who struct {
	// Groups are those of a client without other claims.
	Groups []string
	// Claims is a JSON object, or nil. What every token needs to be accepted is added where it is
	// missing: iss, aud and exp; the client's own claims are not.
	Claims []byte
	// Issuer is the issuer's URL; needed only where claims or groups don't tell it.
	Issuer string
	// Client is ISSUER#CLIENT_ID, or "" for one that no policy knows by name.
	Client string
}

// anyone is the client id of a client that is given by its groups alone. It is none that policies name.
const anyone = "(any)"

// Wrong is something of a supposed client that can't be.
type Wrong struct {
	// Field is groups, claims, issuer or client.
	Field   string
	Message string
}

func (w *Wrong) Error() string { return w.Field + ": " + w.Message }

func wrong(field, format string, args ...any) error {
	return &Wrong{field, fmt.Sprintf(format, args...)}
}

// Principal is the client as it would be if its token were verified. The error is a *Wrong, or, where
// the issuer's entry refuses the claims, the mapper's own.
func (w Who) Principal(c *config.Config, m Mapper) (*principal.Principal, error) {
	if w.Claims != nil {
		claims, err := w.Token(c)
		if err != nil {
			return nil, err
		}
		return m.Map(claims)
	}
	named := w.Issuer
	id := anyone
	if w.Client != "" {
		url, client, _ := strings.Cut(w.Client, "#")
		if client == "" {
			return nil, wrong("client", "%q names no client; write ISSUER#CLIENT_ID, as audit records do", w.Client)
		}
		if named != "" && named != url {
			return nil, wrong("client", "%q is not of the issuer %s; leave one out", w.Client, named)
		}
		named, id = url, client
	}
	for _, g := range w.Groups {
		of := config.IssuerOf(g, c.Issuers)
		switch {
		case of == nil:
			return nil, wrong("groups", "no client can be in a group called %q: %s", g, config.NoIssuerOf(g, c.Issuers))
		case named != "" && of.URL != named:
			return nil, wrong("groups", "no client of %s can be in %q, which is a group of %s", named, g, of.URL)
		}
		named = of.URL
	}
	field := "issuer"
	if w.Client != "" {
		field = "client"
	}
	is, err := issuer(c, named, field)
	if err != nil {
		return nil, err
	}
	groups := slices.Sorted(slices.Values(w.Groups))
	return &principal.Principal{Issuer: is.URL, ClientID: id, Groups: slices.Compact(groups)}, nil
}

// issuer finds the issuer of that URL, which the field gave, or the only one.
func issuer(c *config.Config, url, field string) (*config.Issuer, error) {
	var known []string
	for i, is := range c.Issuers {
		if is.URL == url || url == "" && len(c.Issuers) == 1 {
			return &c.Issuers[i], nil
		}
		known = append(known, is.URL)
	}
	if url == "" {
		return nil, wrong("issuer", "is missing, and there are several; name one of %s", strings.Join(known, ", "))
	}
	return nil, wrong(field, "no issuer is called %q; %s", url, config.Suggest(url, known))
}

// Token is the claims set of a client that is given by claims, with what every token needs added. The
// error is a *Wrong.
func (w Who) Token(c *config.Config) ([]byte, error) {
	switch {
	case len(w.Groups) > 0:
		return nil, wrong("groups", "stand beside claims, of which a client's groups are made; keep one")
	case w.Client != "":
		return nil, wrong("client", "stands beside claims, which name the client; keep one")
	}
	var set map[string]json.RawMessage
	if err := strict.Unmarshal(w.Claims, &set); err != nil || !bytes.HasPrefix(bytes.TrimSpace(w.Claims), []byte("{")) {
		return nil, wrong("claims", "are not one JSON object, without a name twice")
	}
	var url string
	if iss, has := set["iss"]; has {
		if json.Unmarshal(iss, &url) != nil || w.Issuer != "" && w.Issuer != url {
			return nil, wrong("issuer", "is not what the claim iss says; leave one out")
		}
	} else {
		is, err := issuer(c, w.Issuer, "issuer")
		if err != nil {
			return nil, err
		}
		url = is.URL
	}
	add := func(name string, value any) {
		if _, has := set[name]; !has {
			set[name], _ = json.Marshal(value) // of what can be
		}
	}
	add("iss", url)
	for _, is := range c.Issuers {
		if is.URL == url && len(is.Audiences) > 0 {
			add("aud", is.Audiences[0])
		}
	}
	if _, dated := set["exp"]; !dated { // it is of now, and not of when somebody copied the others
		delete(set, "iat")
		delete(set, "nbf")
	}
	add("exp", time.Now().Add(30*time.Second).Unix())
	return json.Marshal(set)
}
