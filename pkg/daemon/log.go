package daemon

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Logger returns the log of a process. Format is "console", "json" or "auto": console where tty says
// that w is a terminal, JSON otherwise.
func Logger(level, format string, w io.Writer, tty bool) (*zap.Logger, error) {
	least, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("log level %q is none of debug, info, warn, error", level)
	}
	conf := zap.NewProductionEncoderConfig()
	conf.TimeKey = "time"
	var enc zapcore.Encoder
	switch {
	case format == "json" || format == "auto" && !tty:
		conf.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		enc = zapcore.NewJSONEncoder(conf)
	case format == "console" || format == "auto":
		conf.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		conf.EncodeLevel = zapcore.CapitalLevelEncoder
		if tty {
			conf.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		conf.EncodeDuration = zapcore.StringDurationEncoder
		conf.ConsoleSeparator = "  "
		enc = zapcore.NewConsoleEncoder(conf)
	default:
		return nil, fmt.Errorf("log format %q is none of auto, console, json", format)
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), least)), nil
}
