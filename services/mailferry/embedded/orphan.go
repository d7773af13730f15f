package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the lock on Redis's files. A redis-server that an earlier process left holds it until it
// has ended; it is asked to end and waited for.
func (r *Redis) lock(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(r.lockPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(r.cfg.Orphan)
	for asked := false; ; asked = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !asked {
			r.log.Info("waiting for the redis-server of an earlier process to end")
			r.askToEnd(ctx)
		}
		if time.Now().After(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("another redis-server still uses %s and does not end: stop it (fuser %s shows it)", r.dir, f.Name())
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// askToEnd sends SHUTDOWN to whoever answers on the socket; one that is gone or on its way does not.
func (r *Redis) askToEnd(ctx context.Context) {
	c := r.client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = c.Shutdown(ctx).Err()
}
