// Package leaks finds secrets in what programs leave behind.
package leaks

import (
	"archive/zip"
	"bytes"
	"io"
)

// In returns where a secret stands in the data of that name: in itself or, where it is a zip archive as Terraform's plans
// are, in which of its files.
func In(name string, data []byte, secrets ...string) (found []string) {
	for _, secret := range secrets {
		if bytes.Contains(data, []byte(secret)) {
			found = append(found, name)
			break
		}
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return found
	}
	for _, file := range archive.File {
		within := name + ": " + file.Name
		r, err := file.Open()
		if err != nil {
			return append(found, within+", which can't be read")
		}
		inner, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return append(found, within+", which can't be read")
		}
		found = append(found, In(within, inner, secrets...)...)
	}
	return found
}
