package embedded_test

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/services/mailferry/embedded"
)

func TestMissingRedisSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := embedded.StartRedis(t.Context(), zap.NewNop(), embedded.RedisConfig{Folder: folder(t, testenv.TempDir(t))})
	if !errors.Is(err, embedded.ErrNoRedis) || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Errorf("got %v", err)
	}
}
