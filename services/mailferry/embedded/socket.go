package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what sun_path holds without its final zero, less what redis-server may add.
const maxSocketPath = 100

// socketPath returns a path for the socket of dir: in dir, or in a folder of our own under tmp where
// that path would be too long for a socket. The same dir has the same path each time.
func socketPath(dir, tmp string) (string, error) {
	if path := filepath.Join(dir, "redis.sock"); len(path) <= maxSocketPath {
		return path, nil
	}
	sum := sha256.Sum256([]byte(dir))
	short := filepath.Join(tmp, "mailferry-"+strconv.Itoa(os.Getuid())+"-"+hex.EncodeToString(sum[:6]))
	path := filepath.Join(short, "redis.sock")
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("the paths %s and %s are both too long for a socket: choose a shorter --data", dir, tmp)
	}
	if err := os.Mkdir(short, 0o700); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("folder of the Redis socket: %w", err)
	}
	// Anybody may have made the folder first: it is used only if it is ours and closed to others.
	var st unix.Stat_t
	if err := unix.Lstat(short, &st); err != nil {
		return "", fmt.Errorf("folder of the Redis socket: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return "", fmt.Errorf("%s is not a folder of ours alone: remove it or choose a shorter --data", short)
	}
	return path, nil
}
