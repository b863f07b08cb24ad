package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// cache is where programs are installed and built; git ignores it.
const cache = ".cache/bench"

// install returns the folder of that name in the cache. Where it isn't complete, fill makes it; another
// run waits.
func install(name string, fill func(dir string) error) (string, error) {
	dir, err := filepath.Abs(filepath.Join(cache, name))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	complete := filepath.Join(dir, ".complete")
	if _, err := os.Stat(complete); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := fill(dir); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	return dir, os.WriteFile(complete, nil, 0o644)
}

// installDebian unpacks packages of Debian: nothing is installed on the machine.
func installDebian(ctx context.Context, name string, packages ...string) (string, error) {
	return install(name, func(dir string) error {
		download := append([]string{"apt-get", "--quiet", "download"}, packages...)
		if run(ctx, dir, download...) != nil { // its lists may be old, or none
			if err := run(ctx, dir, "apt-get", "--quiet", "update"); err != nil {
				return err
			}
			if err := run(ctx, dir, download...); err != nil {
				return err
			}
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := run(ctx, dir, "dpkg", "--extract", file, dir); err != nil {
				return err
			}
		}
		return nil
	})
}
