package clientcredentials

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// maxEntry bounds a file that is read. The gateway takes tokens of up to 16 KiB.
const maxEntry = 64 << 10

// Cache keeps tokens in llm-gateway/ below os.UserCacheDir, a file for each request.
//
// A token is a password for as long as it lives. So the directory and the file must be the user's
// own and closed to everybody else (0700, 0600), and neither a symbolic link; a file that isn't so,
// or isn't whole, is as good as absent, and the next token replaces it.
type Cache struct {
	now func() time.Time
}

// NewCache opens nothing yet.
func NewCache() *Cache { return &Cache{now: time.Now} }

// entry is a file. Its token is used from From until Until, by the wall clock: one that was
// set back is noticed by the former.
type entry struct {
	AccessToken string    `json:"access_token"`
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
}

// Get returns the token that Put kept for an equal request, the secret included, unless it is about
// to expire.
func (c *Cache) Get(r Request) (token string, ok bool) {
	dir, err := open()
	if err != nil {
		return "", false
	}
	defer dir.Close()
	info, err := dir.Lstat(name(r))
	if err != nil || !info.Mode().IsRegular() || !private(info) || info.Size() > maxEntry {
		return "", false
	}
	text, err := dir.ReadFile(name(r))
	if err != nil {
		return "", false
	}
	var e entry
	if err := json.Unmarshal(text, &e); err != nil || !visible(e.AccessToken) {
		return "", false
	}
	now := c.now()
	return e.AccessToken, !now.Before(e.From) && now.Before(e.Until)
}

// Put keeps a token that was just granted, unless how long it lives isn't known. The last tenth of its life, at
// most a minute, is left out: whoever gets it must have time to use it.
func (c *Cache) Put(r Request, t Token) error {
	if t.Life <= 0 {
		return nil
	}
	now := c.now().UTC().Round(0)
	text, err := json.Marshal(entry{t.Value.Reveal(), now, now.Add(t.Life - min(t.Life/10, time.Minute))})
	if err != nil {
		return err
	}
	path, err := path()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	dir, err := open()
	if err != nil {
		return err
	}
	defer dir.Close()
	return replace(dir, name(r), text)
}

// replace writes a file that is whole at any time, whatever had its name before.
func replace(dir *os.Root, name string, text []byte) error {
	temporary := "." + rand.Text()
	f, err := dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = dir.Rename(temporary, name)
	}
	if err != nil {
		dir.Remove(temporary)
	}
	return err
}

// name tells requests apart, and by the secret a rotated one from its predecessor. %q quotes each
// field, so that no two lists look alike.
func name(r Request) string {
	all := fmt.Appendf(nil, "%q", []string{r.Issuer, r.TokenURL, r.ClientID, r.ClientSecret.Reveal(), r.Scope, r.Audience})
	return fmt.Sprintf("%x.json", sha256.Sum256(all))
}

func path() (string, error) {
	base, err := os.UserCacheDir()
	return filepath.Join(base, "llm-gateway"), err
}

// open opens the directory. It is judged before, by a look that follows no link, and must then be the
// one that was judged.
func open() (*os.Root, error) {
	path, err := path()
	if err != nil {
		return nil, err
	}
	judged, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !private(judged) {
		return nil, fmt.Errorf("%s must be a directory of yours that is closed to others; remove it, or chmod 700", path)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if opened, err := dir.Stat("."); err != nil || !os.SameFile(judged, opened) {
		dir.Close()
		return nil, fmt.Errorf("%s was replaced while it was opened", path)
	}
	return dir, nil
}

// private reports whether nobody else may read or write the file, which is ours.
func private(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 == 0 && mine(info) }
