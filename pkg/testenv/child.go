package testenv

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// child is a server of the test's own: a process group that ends with the test binary, also when that is killed.
type child struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	out    bytes.Buffer  // of both streams; not to be read before cmd has ended
}

// startChild starts cmd, as somebody else if told so.
func startChild(cmd *exec.Cmd, as *syscall.Credential) (*child, error) {
	c := &child{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &c.out, &c.out
	cmd.SysProcAttr = ownGroup()
	cmd.SysProcAttr.Credential = as
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

func (c *child) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// stop ends the server with all its sessions, in order.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(5 * time.Second):
	}
	c.kill()
}

// kill ends the group with SIGKILL.
func (c *child) kill() {
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // the group of the test's own server
	<-c.exited
}

// freePorts finds free ports on an address.
func freePorts(t testing.TB, address string, ports ...*int) {
	t.Helper()
	for _, p := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		*p = l.Addr().(*net.TCPAddr).Port
		defer l.Close() // all at the end: none is given twice
	}
}

// greets says whether every port is served by something that speaks first.
func greets(address string, ports ...int) bool {
	for _, port := range ports {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(port)), time.Second)
		if err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
		if err != nil {
			return false
		}
	}
	return true
}

// mailOwner is who owns the mail of a server: we ourselves, or nobody where we are root.
func mailOwner(t testing.TB) (uid, gid int) {
	t.Helper()
	if os.Getuid() != 0 {
		return os.Getuid(), os.Getgid()
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ = strconv.Atoi(nobody.Uid)
	gid, _ = strconv.Atoi(nobody.Gid)
	return uid, gid
}
