package testenv

import "syscall"

// ownGroup starts a child in a process group of its own, and ends it when the test binary dies: a test that
// runs into its time limit runs no cleanup.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
