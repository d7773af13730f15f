package daemon_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/daemon"
)

func TestLoggerFormatFollowsTheTerminal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		format string
		tty    bool
		json   bool
	}{{"auto", true, false}, {"auto", false, true}, {"json", true, true}, {"console", false, false}}
	for _, tt := range tests {
		var b bytes.Buffer
		log, err := daemon.Logger("info", tt.format, &b, tt.tty)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Info("shown", zap.String("account", "example.com/a"))
		var line struct{ Level, Time, Msg, Account string }
		isJSON := json.Unmarshal(b.Bytes(), &line) == nil
		if isJSON != tt.json || bytes.Contains(b.Bytes(), []byte("hidden")) {
			t.Errorf("%+v: %q", tt, b.String())
		}
		if isJSON && (line.Level != "info" || line.Msg != "shown" || line.Time == "" || line.Account != "example.com/a") {
			t.Errorf("%+v: %+v", tt, line)
		}
	}
}

func TestLoggerRefusesUnknownWords(t *testing.T) {
	t.Parallel()
	if _, err := daemon.Logger("loud", "auto", nil, false); err == nil {
		t.Error("level: no error")
	}
	if _, err := daemon.Logger("info", "xml", nil, false); err == nil {
		t.Error("format: no error")
	}
}
