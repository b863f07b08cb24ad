package function

import (
	"encoding/json"
	"net/http"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/bearer"
	"llmgateway.dev/gateway/internal/limit"
	"llmgateway.dev/gateway/internal/operation"
)

const (
	healthPath = "/health"
	whoamiPath = "/whoami"
)

// own answers the endpoints that need no token. They tell no more than RFC 9728 publishes, the
// issuers, and write no record: probes would fill the log.
func (g *gateway) own(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case healthPath, bearer.MetadataPath:
	default:
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		apierror.Write(w, apierror.OpenAI, apierror.WrongMethod(http.MethodGet, http.MethodHead))
		return true
	}
	if r.URL.Path == bearer.MetadataPath {
		urls := make([]string, len(g.config.Issuers))
		for i, is := range g.config.Issuers {
			urls[i] = is.URL
		}
		bearer.WriteMetadata(w, bearer.Resource(g.config.Server.URL, r), urls)
		return true
	}
	g.health(w, r)
	return true
}

// health tells that the process is up; with ?ready, whether all issuers and credentials were reached.
// Which of them were not is for the operator's log, not for whoever asks.
func (g *gateway) health(w http.ResponseWriter, r *http.Request) {
	type health struct {
		Status string `json:"status"`
		Ready  *bool  `json:"ready,omitempty"`
	}
	if !r.URL.Query().Has("ready") {
		answer(w, http.StatusOK, health{Status: "ok"})
		return
	}
	g.warmth.wait(r.Context(), g)
	ready, status := g.ready(), http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, health{"ok", &ready})
}

// whoami shows a client what its token says and what that allows.
func (x *exchange) whoami() error {
	if x.r.Method != http.MethodGet {
		return apierror.WrongMethod(http.MethodGet)
	}
	if x.r.Body != http.NoBody {
		return unwantedBody()
	}
	x.record.Operation = "whoami"
	models := x.policies.Models(x.who, time.Now())
	limits, err := x.limits.Show(x.ctx, x.who, models)
	if err != nil {
		x.record.Limits = &audit.Limits{StoreError: err}
	}
	x.reply(struct {
		Issuer   string            `json:"issuer"`
		Subject  string            `json:"subject,omitempty"`
		ClientID string            `json:"client_id"`
		Groups   []string          `json:"groups"`
		Scopes   []string          `json:"scopes"`
		Claims   map[string]string `json:"claims,omitempty"`
		Models   []string          `json:"models"`
		Limits   []limit.Status    `json:"limits,omitempty"`
	}{x.who.Issuer, x.who.Subject, x.who.ClientID, array(x.who.Groups), array(x.who.Scopes), x.who.Claims, array(models), limits})
	return nil
}

func unwantedBody() error {
	return apierror.New(apierror.InvalidRequest, "this operation takes no body; send none")
}

// model is platform.openai.com/docs/api-reference/models/object. What stands behind a name is the
// operator's business.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func newModel(name string) model { return model{ID: name, Object: "model", OwnedBy: "gateway"} }

// list answers models.list and models.retrieve: exactly the models that the client may use now.
func (x *exchange) list(route operation.Route) error {
	names := x.policies.Models(x.who, time.Now())
	if route.Dialect == apierror.Anthropic {
		return x.listAnthropic(names, route.Model)
	}
	if route.Model == "" {
		models := make([]model, len(names))
		for i, name := range names {
			models[i] = newModel(name)
		}
		x.reply(struct {
			Object string  `json:"object"`
			Data   []model `json:"data"`
		}{"list", models})
		return nil
	}
	for _, name := range names {
		if name == route.Model {
			x.reply(newModel(name))
			return nil
		}
	}
	return noSuchModel()
}

func noSuchModel() error {
	return apierror.New(apierror.ModelNotFound, "this model does not exist, or you may not use it; GET /v1/models lists those you may").At("model")
}

// listAnthropic is list in Anthropic's form (docs.anthropic.com/en/api/models-list).
func (x *exchange) listAnthropic(names []string, only string) error {
	type model struct {
		Type        string `json:"type"`
		ID          string `json:"id"`
		DisplayName string `json:"display_name"`
		CreatedAt   string `json:"created_at"`
	}
	models := make([]model, len(names))
	for i, name := range names {
		models[i] = model{"model", name, name, "1970-01-01T00:00:00Z"} // when is the provider's to know
		if name == only {
			x.reply(models[i])
			return nil
		}
	}
	if only != "" {
		return noSuchModel()
	}
	page := struct {
		Data    []model `json:"data"`
		HasMore bool    `json:"has_more"`
		FirstID *string `json:"first_id"`
		LastID  *string `json:"last_id"`
	}{Data: models}
	if len(names) > 0 {
		page.FirstID, page.LastID = &names[0], &names[len(names)-1]
	}
	x.reply(page)
	return nil
}

// reply answers with a value of our own.
func (x *exchange) reply(v any) {
	x.answered = true
	x.record.Status = http.StatusOK
	x.record.BytesOut = answer(x.w, http.StatusOK, v)
}

func answer(w http.ResponseWriter, status int, v any) int64 {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	b, _ := json.Marshal(v) // structs of strings: can't fail
	w.WriteHeader(status)
	n, _ := w.Write(append(b, '\n'))
	return int64(n)
}

// array makes a JSON array of what may be nil.
func array(s []string) []string { return append([]string{}, s...) }
