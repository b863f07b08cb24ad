package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Cache is a folder in which installed programs stay; git ignores it.
type Cache string

// Install returns the folder of that name in the cache. Where it isn't complete, fill makes it; another
// run waits.
func (c Cache) Install(name string, fill func(dir string) error) (string, error) {
	dir, err := filepath.Abs(filepath.Join(string(c), name))
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

// Debian unpacks packages of Debian, and what they need and the machine hasn't.
func (c Cache) Debian(ctx context.Context, name string, packages ...string) (string, error) {
	return c.Install(name, func(dir string) error {
		if err := os.Mkdir(filepath.Join(dir, "partial"), 0o755); err != nil {
			return err
		}
		download := append([]string{"apt-get", "--quiet", "--option", "Dir::Cache::archives=" + dir, "--option", "APT::Sandbox::User=root",
			"install", "--yes", "--no-install-recommends", "--download-only", "--reinstall"}, packages...)
		if Run(ctx, dir, nil, download...) != nil { // its lists may be old, or none
			if err := Run(ctx, dir, nil, "apt-get", "--quiet", "update"); err != nil {
				return err
			}
			if err := Run(ctx, dir, nil, download...); err != nil {
				return err
			}
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := Run(ctx, dir, nil, "dpkg", "--extract", file, dir); err != nil {
				return err
			}
		}
		return nil
	})
}

// Redis is a Redis server's program.
type Redis string

// Redis is the machine's, or Debian's with what it links.
func (c Cache) Redis(ctx context.Context) (Redis, error) {
	if program, err := exec.LookPath("redis-server"); err == nil {
		return Redis(program), nil
	}
	dir, err := c.Debian(ctx, "redis", "redis-server", "redis-tools", "libjemalloc2", "liblzf1", "liblua5.1-0")
	return Redis(filepath.Join(dir, "usr/bin/redis-server")), err
}
