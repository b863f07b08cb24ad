package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces puts the inner process into namespaces of its own. It is the first of its process
// namespace, so that with it everything ends that it started; and it ends with this process.
func namespaces(userns bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	if userns {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// refused reports whether the kernel, or what guards it, permits none of this: no capability, or no such
// feature.
func refused(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS)
}

// furnish makes this process's namespaces habitable. dir is an empty folder that can be used.
func furnish(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := mountEmpty(dir); err != nil {
		return err
	}
	if err := makeAuthority(); err != nil {
		return err
	}
	if err := furnishEtc(filepath.Join(dir, "etc")); err != nil {
		return err
	}
	home, _ := os.UserHomeDir()
	for _, folder := range []string{
		filepath.Join(home, ".config/gcloud"), // the developer's own credentials
		"/run/nscd",                           // where the machine's names would be asked for
	} {
		if _, err := os.Stat(folder); err != nil {
			continue
		}
		if err := mountEmpty(folder); err != nil {
			return err
		}
	}
	return loopback()
}

// mountEmpty mounts an empty folder in memory.
func mountEmpty(folder string) error {
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount an empty folder at %s: %w", folder, err)
	}
	return nil
}

// furnishEtc puts a folder in memory in the place of /etc: in it, folders are the machine's, files
// are copies, but for those that say whom to ask for names and whom to trust. The machine's /etc
// remains below host.
func furnishEtc(host string) error {
	if err := os.Mkdir(host, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/etc", host, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep /etc: %w", err)
	}
	if err := mountEmpty("/etc"); err != nil {
		return err
	}
	own := map[string]string{
		"hosts":         "127.0.0.1 localhost\n::1 localhost\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"resolv.conf":   "nameserver 127.0.0.1\nsearch .\n",
		// The bundles of Debian, Fedora and Alpine; Go and OpenSSL look for them.
		"ssl/certs/ca-certificates.crt":                authority.pem,
		"ssl/cert.pem":                                 authority.pem,
		"pki/tls/certs/ca-bundle.crt":                  authority.pem,
		"pki/ca-trust/extracted/pem/tls-ca-bundle.pem": authority.pem,
	}
	for name, text := range own {
		if err := write(filepath.Join("/etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(host)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(host, e.Name()), filepath.Join("/etc", e.Name())
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		switch mode := e.Type(); {
		case mode.IsDir():
			if err = os.Mkdir(to, 0o755); err == nil {
				err = unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
			}
		case mode&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(from); err == nil {
				err = os.Symlink(target, to)
			}
		case mode.IsRegular():
			var text []byte
			if text, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, text, 0o644)
			} else if errors.Is(err, fs.ErrPermission) { // passwords
				err = nil
			}
		}
		if err != nil {
			return fmt.Errorf("copy /etc/%s: %w", e.Name(), err)
		}
	}
	return nil
}

// write writes a file, and the folders it is in.
func write(name string, text []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, mode)
}

// loopback brings the loopback interface of this thread's namespace up, and gives it the metadata
// server's address too.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up loopback: %w", err)
	}
	defer unix.Close(s)
	for _, step := range []struct {
		name    string
		request uint
		set     func(*unix.Ifreq) error
	}{
		{"lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }},
		{"lo:1", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(net.ParseIP(metadataIP).To4()) }},
		{"lo:1", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(net.IPv4bcast.To4()) }},
	} {
		r, err := unix.NewIfreq(step.name)
		if err == nil {
			err = step.set(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, step.request, r)
		}
		if err != nil {
			return fmt.Errorf("set up loopback: %s: %w", step.name, err)
		}
	}
	return nil
}

// Start starts the program with further files below /etc, which it alone sees: absolute paths, each
// below a folder that isn't there otherwise (/etc/gateway/…). They can be read by all and written by
// nobody, as the volumes are that Cloud Run makes of secrets.
func Start(cmd *exec.Cmd, files map[string][]byte) error {
	r, err := newRoom(unix.CLONE_NEWNS, func() error { return mountFiles(files) })
	if err != nil {
		return err
	}
	defer r.leave()
	return r.run(cmd.Start)
}

// newContainer is a room with those files, and a network that has nothing but loopback.
func newContainer(files map[string][]byte) (*room, error) {
	return newRoom(unix.CLONE_NEWNS|unix.CLONE_NEWNET, func() error {
		if err := loopback(); err != nil {
			return err
		}
		return mountFiles(files)
	})
}

// room is a thread of this process in namespaces of its own. A program that is started in it, and a
// socket that is made in it, stay in them.
type room struct {
	jobs chan func()
	left chan struct{}
}

func newRoom(flags int, furnish func() error) (*room, error) {
	if !inside {
		return nil, errors.New("there is no sandbox: call Main from TestMain")
	}
	r := &room{jobs: make(chan func()), left: make(chan struct{})}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends here
		err := unix.Unshare(flags)
		if err != nil {
			err = fmt.Errorf("make a namespace: %w", err)
		} else {
			err = furnish()
		}
		entered <- err
		if err != nil {
			return
		}
		for {
			select {
			case f := <-r.jobs:
				f()
			case <-r.left:
				return
			}
		}
	}()
	if err := <-entered; err != nil {
		return nil, err
	}
	return r, nil
}

// run calls f in the room. f must not wait long, nor do what it does in other goroutines.
func (r *room) run(f func() error) error {
	done := make(chan error)
	select {
	case r.jobs <- func() { done <- f() }:
		return <-done
	case <-r.left:
		return net.ErrClosed
	}
}

// leave ends the room, once.
func (r *room) leave() { close(r.left) }

// mountFiles makes the files of Start in this thread's mount namespace.
func mountFiles(files map[string][]byte) error {
	var tops []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		below, ok := strings.CutPrefix(filepath.Clean(name), "/etc/")
		first, _, deep := strings.Cut(below, "/")
		if !ok || !deep {
			return fmt.Errorf("mount %s: only folders below /etc can be mounted", name)
		}
		top := "/etc/" + first
		if !slices.Contains(tops, top) {
			if err := os.Mkdir(top, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if there, err := os.ReadDir(top); err != nil || len(there) > 0 {
				return fmt.Errorf("mount %s: %s is another's; name a new folder", name, top)
			}
			if err := mountEmpty(top); err != nil {
				return err
			}
			tops = append(tops, top)
		}
		if err := write(name, files[name], 0o444); err != nil {
			return err
		}
	}
	for _, top := range tops {
		const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
		if err := unix.Mount("", top, "", flags, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", top, err)
		}
	}
	return nil
}
