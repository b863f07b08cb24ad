package secret

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
)

func (s *Store) read(ctx context.Context, from config.Source) (value, error) {
	switch {
	case from.SecretManager != "":
		return s.manager.access(ctx, from.SecretManager)
	case from.File != "":
		return readFile(from.File)
	}
	return readEnv(from.Env)
}

func readFile(name string) (value, error) {
	info, err := os.Stat(name)
	if err != nil {
		return value{}, err
	}
	if !info.Mode().IsRegular() { // a pipe would be waited for without end
		return value{}, errors.New("is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return value{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return value{}, err
	}
	return digested(data)
}

func readEnv(name string) (value, error) {
	text, _ := os.LookupEnv(name)
	if text == "" {
		return value{}, errors.New("is not set, or empty")
	}
	return digested([]byte(text))
}

// digested names content that has no version of its own.
func digested(data []byte) (value, error) {
	if err := checkSize(data); err != nil {
		return value{}, err
	}
	sum := sha256.Sum256(data)
	return value{data: hidden.New(string(data)), version: fmt.Sprintf("sha256:%x", sum[:8])}, nil
}

func checkSize(data []byte) error {
	switch {
	case len(data) == 0:
		return errors.New("is empty")
	case len(data) > MaxSize:
		return fmt.Errorf("is larger than %s", config.Bytes(MaxSize))
	}
	return nil
}
