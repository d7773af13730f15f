package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// printJSON prints a message as one line, fields named as in the API's JSON.
func printJSON(w io.Writer, m proto.Message) error {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil { // protojson's spaces vary from build to build
		return err
	}
	line.WriteByte('\n')
	_, err = w.Write(line.Bytes())
	return err
}

// newTable returns a table without lines whose columns are two spaces apart, wide characters counted as
// two cells; the columns named in numbers are right-aligned.
func newTable(env *Env, header table.Row, numbers ...int) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(env.Stdout)
	style := table.StyleDefault
	style.Name = "mailferry"
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for _, n := range numbers {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	return t
}

// properties prints names and values in two columns; empty values are left out.
func properties(env *Env, pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, text.StringWidthWithoutEscSequences(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			_, _ = fmt.Fprintf(env.Stdout, "%s  %s\n", text.Pad(pairs[i], width, ' '), printable(pairs[i+1]))
		}
	}
}

// printable replaces what could command a terminal: control and format characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// size writes octets for people.
func size(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB"} {
		if f /= 1000; f < 999.95 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f TB", f/1000)
}

// count writes a number with the noun it counts.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}

// ago writes a time relative to now: "3m ago", "in 3m", "never" for none.
func ago(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil || t.AsTime().IsZero() {
		return "never"
	}
	d := t.AsTime().Sub(now)
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d > 0:
		return "in " + short(d)
	}
	return short(-d) + " ago"
}

// short writes a duration in its largest unit.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// interval writes a time span, "" for none.
func interval(d *durationpb.Duration) string {
	if d.AsDuration() <= 0 {
		return ""
	}
	return fault.Span(d.AsDuration())
}

// instant writes a time for people and programs alike, "" for none.
func instant(t *timestamppb.Timestamp) string {
	if t == nil || t.AsTime().IsZero() {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}

// took returns how long a run lasted.
func took(r *mailferryv1.RunReport) string {
	if r.GetStartedAt() == nil || r.GetFinishedAt() == nil {
		return ""
	}
	return fault.Span(r.GetFinishedAt().AsTime().Sub(r.GetStartedAt().AsTime()).Round(10 * time.Millisecond))
}

// result is what a run came to in one word.
func result(f *mailferryv1.Fault) string {
	if f == nil {
		return "ok"
	}
	return fault.Kind(f.GetKind()).String()
}

// word turns an enum value into the word of the command line: TLS_MODE_DETECT → detect.
func word(e fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), prefix))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
