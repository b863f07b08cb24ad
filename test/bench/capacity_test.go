package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/template"
)

var update = flag.Bool("update", false, "write docs/capacity.md anew")

//go:embed capacity.tmpl
var capacityText string

const capacityPage = "../../docs/capacity.md"

// docs/capacity.md follows from what was measured.
func TestTheCapacityPageIsComputedFromTheResults(t *testing.T) {
	c := assumed()
	text, err := os.ReadFile("../../docs/bench/results.json")
	if err == nil {
		c, err = measured(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	page := c.page()
	if *update {
		if err := os.WriteFile(capacityPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile(capacityPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(is) != page {
		t.Errorf("docs/capacity.md isn't what follows from docs/bench/results.json; go test ./test/bench -run Capacity -update")
	}
}

// One row by hand, so that the page isn't compared with itself alone.
func TestCapacityIsReckonedRight(t *testing.T) {
	c := assumed()
	for what, tt := range map[string]struct{ is, want float64 }{
		// terraform/README.md has this one too.
		"a million calls of 10 s, 80 at once":       {c.share(80).Calls[1], 125000*(0.000024+0.0000025) + 0.40},
		"a million tokens, 80 at once, 50 a second": {c.share(80).Tokens, 250 * 0.0000265},
		"vCPU of 80 streams":                        {c.share(80).Busy, 80*50*4e-6 + 8*150e-6},
		"calls by CPU":                              {c.fleet(10).ByCPU, 6 / (150e-6 + 500*4e-6)},
	} {
		if math.Abs(tt.is-tt.want) > 1e-9*tt.want {
			t.Errorf("%s: %v, want %v", what, tt.is, tt.want)
		}
	}
	with := &results{Medians: map[string]figures{ours: {"request_cpu_us": 80, "paced_event_cpu_us": 40, "stream_kib": 50}}}
	text, err := json.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = measured(text); err != nil || c.Request != 80 || c.Event != 40 || c.Stream != 50 || strings.Contains(c.From, "assumed") || strings.Count(c.page(), "more than it has") != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := measured([]byte(`{"medians":{"gateway":{"request_cpu_us":80}}}`)); err == nil {
		t.Error("a page follows from a run that measured half of it")
	}
}

// List prices in USD.
const (
	vCPUSecond    = 0.000024
	gibSecond     = 0.0000025
	millionth     = 0.40 // of requests
	gibOfLogs     = 0.50
	gibOfTraffic  = 0.12
	secretAccess  = 0.03 / 10000
	modelsMillion = 10.0 // tokens out
)

// The Terraform module's defaults, and what is assumed of calls.
const (
	vCPUs         = 1
	gibs          = 1
	concurrency   = 80
	maxInstances  = 10
	perSecond     = 50  // tokens of a stream, an event each
	eventBytes    = 250 // of an event with one token, in OpenAI's form
	recordBytes   = 1500
	promptBytes   = 10 << 10
	seconds       = 10.0 // of an ordinary call
	target        = 0.6  // of concurrency and CPU, to which Cloud Run scales
	instanceSpend = vCPUs*vCPUSecond + gibs*gibSecond
)

// paper is what the page is computed from: microseconds and KiB.
type paper struct {
	Request, Event, Stream float64
	From                   string
}

// assumed is used until there are results.
func assumed() *paper { return &paper{150, 4, 60, "assumed, until `make bench` has run"} }

func measured(text []byte) (*paper, error) {
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	c := &paper{From: "measured " + r.Date.Format("2006-01-02") + ", [bench](bench/README.md)"}
	for name, into := range map[string]*float64{"request_cpu_us": &c.Request, "paced_event_cpu_us": &c.Event, "stream_kib": &c.Stream} {
		if *into = r.Medians[ours][name]; *into <= 0 {
			return nil, fmt.Errorf("docs/bench/results.json has no %s of the gateway's; run make bench as a whole", name)
		}
	}
	return c, nil
}

// share is what it costs where so many calls are on an instance at once.
type share struct {
	AtOnce int
	Calls  [4]float64 // USD a million, of 1, 10, 30 and 60 s
	Tokens float64    // USD a million
	Busy   float64    // of its vCPU
	MiB    float64    // of open streams
}

func (c *paper) share(atOnce int) share {
	n := float64(atOnce)
	s := share{AtOnce: atOnce, Tokens: 1e6 / (n * perSecond) * instanceSpend, MiB: n * c.Stream / 1024}
	for i, d := range [...]float64{1, 10, 30, 60} {
		s.Calls[i] = 1e6*d/n*instanceSpend + millionth
	}
	s.Busy = n * (perSecond*c.Event + c.Request/seconds) / 1e6 / vCPUs
	return s
}

// fleet is what so many instances carry.
type fleet struct{ N, AtOnce, PerSecond, Tokens, ByCPU float64 }

func (c *paper) fleet(n float64) fleet {
	f := fleet{N: n, AtOnce: n * concurrency}
	f.PerSecond, f.Tokens = f.AtOnce/seconds, f.AtOnce*perSecond
	f.ByCPU = n * vCPUs * target * 1e6 / (c.Request + seconds*perSecond*c.Event)
	return f
}

// other is one who is asked by instances.
type other struct {
	What, How string
	See       [3]string
	Quota     string
}

var fleets = [...]float64{10, 1000, 10000}

func others() (all []other) {
	add := func(what, how, quota, unit string, each float64) {
		o := other{What: what, How: how, Quota: quota}
		for i, n := range fleets {
			o.See[i] = count(n*each) + unit
		}
		all = append(all, o)
	}
	const (
		none        = "none that is documented"
		secrets     = "[90,000/min a project](https://docs.cloud.google.com/secret-manager/quotas)"
		credentials = 2
	)
	add("limit store", "twice a call", "one thread", "/s", 2*concurrency/seconds)
	add("its connections", "up to 10 an instance", "[65,000](https://docs.cloud.google.com/memorystore/docs/redis/quotas) of Memorystore", "", 10)
	add("identity provider: keys", "every 5 minutes where it names no `max-age`", "yours", "/min", 1.0/5)
	add("identity provider: discovery", "every hour", "yours", "/min", 1.0/60)
	add("the same, when all start within a minute", "once each", "yours", "/min", 2)
	add("the same, while tokens with unknown keys come", "at most every 10 s", "yours", "/min", 6)
	add("Secret Manager, two credentials", "every `secret_manager.refresh`, 5 minutes", secrets, "/min", credentials/5.0)
	add("what those accesses cost", "", "", " USD a day", credentials*24*12*secretAccess)
	add("Secret Manager, when all start within a minute", "each credential; configuration and policies by Cloud Run", secrets, "/min", credentials+2)
	add("token endpoint, a credential", "every 55 minutes", none, "/h", 60.0/55)
	add("the same, when all start within a minute", "once each", none, "/min", 1)
	return all
}

func (c *paper) page() string {
	usual := int(concurrency * target)
	tokens := seconds * perSecond
	data := struct {
		*paper
		VCPU, GiB, Concurrency, MaxInstances, Rate, EventBytes, RecordBytes, Usual int
		RequestPrice, LogPrice, TrafficPrice, VCPUPrice, Hour, Alone               float64
		Shares                                                                     []share
		Gain, Tokens, Instances, Logs, Traffic, Prompts, Model                     float64
		Fleets                                                                     []fleet
		Others                                                                     []other
		SecretsBind, Most, Streamed, StreamedMinutes, StreamsFit, CPUBinds         float64
	}{
		paper: c, VCPU: vCPUs, GiB: gibs, Concurrency: concurrency, MaxInstances: maxInstances, Rate: perSecond, EventBytes: eventBytes, RecordBytes: recordBytes, Usual: usual,
		RequestPrice: millionth, LogPrice: gibOfLogs, TrafficPrice: gibOfTraffic, VCPUPrice: vCPUSecond, Hour: instanceSpend * 3600, Alone: instanceSpend,
		Gain: c.share(250 * target).Calls[1] - c.share(1000 * target).Calls[1], Tokens: tokens, Instances: c.share(usual).Calls[1] - millionth,
		Logs: 1e6 * recordBytes / (1 << 30) * gibOfLogs, Traffic: 1e6 * tokens * eventBytes / (1 << 30) * gibOfTraffic, Prompts: 1e6 * promptBytes / (1 << 30) * gibOfTraffic, Model: tokens * modelsMillion,
		Others:      others(),
		SecretsBind: 90000.0 / (60 * 2), Most: maxInstances * concurrency,
		Streamed: 10e6 / eventBytes, StreamedMinutes: 10e6 / eventBytes / perSecond / 60,
		StreamsFit: gibs * (1 << 20) / c.Stream, CPUBinds: 1 / c.share(1).Busy,
	}
	for _, n := range [...]int{1, 10, usual, concurrency, 250, 1000} {
		data.Shares = append(data.Shares, c.share(n))
	}
	for _, n := range fleets {
		data.Fleets = append(data.Fleets, c.fleet(n))
	}
	var b bytes.Buffer
	t := template.Must(template.New("capacity").Funcs(template.FuncMap{
		"num": short, "usd": usd,
		"count":   func(v any) (string, error) { f, err := strconv.ParseFloat(fmt.Sprint(v), 64); return count(f), err },
		"mul":     func(a, b float64) float64 { return a * b },
		"percent": func(v float64) string { return short(v*100) + " %" },
	}).Parse(capacityText))
	if err := t.Execute(&b, data); err != nil {
		panic("capacity: " + err.Error()) // the text is ours
	}
	return b.String()
}

// usd shows a price: two decimals, or two digits where it is less.
func usd(v float64) string {
	if v >= 100 {
		return count(math.Round(v))
	}
	if v >= 0.1 {
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 1-int(math.Floor(math.Log10(v))), 64)
}

// count shows a number of things, with commas.
func count(v float64) string {
	if v < 99.5 {
		return short(v)
	}
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
