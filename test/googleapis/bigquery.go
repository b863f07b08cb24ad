package googleapis

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bigQuery is BigQuery's datasets, which stay empty. Who may do what with one is its access list.
func bigQuery() service {
	return service{kinds: map[string]kind{"bigquery.datasets": {id: field("datasetReference", "datasetId"), short: true, settle: settleDataset}}}
}

var datasetID = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// basicRoles are those that access lists have always had.
var basicRoles = map[string]string{
	"roles/bigquery.dataViewer": "READER", "roles/bigquery.dataEditor": "WRITER", "roles/bigquery.dataOwner": "OWNER",
}

func settleDataset(c *call, was, r *resource) error {
	id := text(r.body, "datasetReference", "datasetId")
	if !datasetID.MatchString(id) || len(id) > 1024 || !strings.HasSuffix(r.name, "/"+id) {
		return invalid("Invalid dataset ID \"%s\". Dataset IDs must be alphanumeric (plus underscores) and must be at most 1024 characters long.", id)
	}
	place := text(r.body, "location")
	if place == "" {
		place = "US"
	}
	if !slices.Contains(regions, strings.ToLower(place)) && place != "US" && place != "EU" {
		return invalid("The location %q is unknown.", place)
	}
	if was != nil && was.body["location"] != place {
		return invalid("The location of a dataset can't be changed.")
	}
	for _, field := range []string{"defaultTableExpirationMs", "defaultPartitionExpirationMs"} {
		if n, _ := strconv.Atoi(text(r.body, field)); field == "defaultTableExpirationMs" && n > 0 && n < 3600000 {
			return invalid("The default table expiration is an hour at least.")
		}
	}
	if err := c.accessible(r); err != nil {
		return err
	}
	millis := fmt.Sprint(time.Now().UnixMilli())
	r.body["datasetReference"].(map[string]any)["projectId"] = c.project
	fill(r.body, map[string]any{
		"kind": "bigquery#dataset", "id": c.project + ":" + id, "location": place, "type": "DEFAULT", "creationTime": millis,
		"selfLink": "https://bigquery.googleapis.com/bigquery/v2/" + r.name, "maxTimeTravelHours": "168",
	})
	r.body["lastModifiedTime"] = millis
	return labelled(r.body)
}

// accessible judges the access list, and makes the one that a dataset has by default.
func (c *call) accessible(r *resource) error {
	entries, _ := r.body["access"].([]any)
	if entries == nil {
		for special, role := range map[string]string{"projectOwners": "OWNER", "projectWriters": "WRITER", "projectReaders": "READER"} {
			entries = append(entries, map[string]any{"role": role, "specialGroup": special})
		}
		entries = append(entries, map[string]any{"role": "OWNER", "userByEmail": c.caller})
	}
	owned := false
	for _, v := range entries {
		entry := v.(map[string]any)
		if entry["view"] != nil || entry["routine"] != nil || entry["dataset"] != nil {
			return unmodelled("access for views, routines and datasets")
		}
		given := text(entry, "role")
		if basic := basicRoles[given]; basic != "" {
			entry["role"] = basic
		} else if known, ok := roles[given]; strings.HasPrefix(given, "roles/") && (!ok || !slices.Contains(known.kinds, "datasets")) {
			return invalid("The role %s is not supported for datasets.", given)
		} else if !ok && !slices.Contains([]string{"READER", "WRITER", "OWNER"}, given) {
			return invalid("The role %q is unknown.", given)
		}
		owned = owned || entry["role"] == "OWNER"
		if email := text(entry, "userByEmail"); strings.HasSuffix(email, ".gserviceaccount.com") {
			if err := c.account(email); err != nil {
				return err
			}
		}
		if m := text(entry, "iamMember"); m != "" {
			if err := c.member(r, m); err != nil {
				return err
			}
		}
	}
	if !owned {
		return invalid("A dataset needs an owner.")
	}
	r.body["access"] = entries
	return nil
}
