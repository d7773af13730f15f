package simulate

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Size of the image, and how much of its width the legends have.
const width, height, margin = 15 * vg.Inch, 11 * vg.Inch, 3.2 * vg.Inch

const sans = "Sans"

// colours can be told apart by who does not see red and green alike (Okabe and Ito); they come again after the eighth.
var colours = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
	{0x56, 0xb4, 0xe9, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0xf0, 0xe4, 0x42, 0xff}, {0x55, 0x55, 0x55, 0xff},
}

// panel is a plot with its legend beside it.
type panel struct {
	*plot.Plot
	legend plot.Legend
}

// WritePNG draws lag, what waits, and sessions over time.
func (r *Result) WritePNG(out io.Writer) error {
	var panels []*panel
	for _, draw := range []func() (*panel, error){r.drawLag, r.drawWaiting, r.drawSessions} {
		p, err := draw()
		if err != nil {
			return err
		}
		panels = append(panels, p)
	}
	c := vgimg.New(width, height)
	canvas := draw.New(c)
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadTop: vg.Points(10), PadBottom: vg.Points(8), PadLeft: vg.Points(8), PadRight: vg.Points(8), PadY: vg.Points(14)}
	var plots [][]*plot.Plot
	for _, p := range panels {
		plots = append(plots, []*plot.Plot{p.Plot})
	}
	left := draw.Crop(canvas, 0, -margin, 0, 0)
	for i, row := range plot.Align(plots, tiles, left) {
		panels[i].Draw(row[0])
		side := canvas
		side.Min = vg.Point{X: left.Max.X, Y: row[0].Min.Y}
		side.Max = vg.Point{X: canvas.Max.X - vg.Points(8), Y: row[0].Max.Y - vg.Points(28)}
		panels[i].legend.Draw(side)
	}
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(out)
	return err
}

func (r *Result) newPanel(title, unit string) *panel {
	p := &panel{plot.New(), plot.NewLegend()}
	p.Title.Text, p.Y.Label.Text, p.X.Label.Text = title, unit, "time since the beginning, hours:minutes"
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(14), vg.Points(6)
	p.Title.TextStyle.Font.Variant = sans
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = vg.Points(12), vg.Points(11)
		a.Label.TextStyle.Font.Variant, a.Tick.Label.Font.Variant = sans, sans
	}
	p.X.Min, p.X.Max = 0, r.Config.Duration.Minutes()
	p.X.Tick.Marker = plot.TickerFunc(clock)
	p.Y.Tick.Marker = plot.TickerFunc(thousands)
	p.legend.Top, p.legend.Left, p.legend.Padding = true, true, vg.Points(4)
	p.legend.TextStyle.Font.Variant = sans
	p.legend.TextStyle.Font.Size, p.legend.ThumbnailWidth = vg.Points(11), vg.Points(22)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	p.Add(grid)
	return p
}

// line adds a line with a value for each minute: the n-th, or one in black.
func (p *panel) line(r *Result, n int, name string, value func(Minute) float64) error {
	points := make(plotter.XYs, len(r.Minutes))
	for i, m := range r.Minutes {
		points[i] = plotter.XY{X: m.At.Minutes(), Y: value(m)}
	}
	l, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	l.Width = vg.Points(1.6)
	if l.Color = color.Black; n >= 0 {
		l.Color = colours[n%len(colours)]
	}
	p.Add(l)
	p.legend.Add(name, l)
	return nil
}

// shortest is the least lag that is drawn, in seconds: a logarithm has no zero.
const shortest = 0.01

func (r *Result) drawLag() (*panel, error) {
	p := r.newPanel(fmt.Sprintf("Lag: from when a turn is due to the dial (%s accounts, seed %d)", grouped(r.Config.Accounts), r.Config.Seed), "lag, logarithmic")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(waits)
	seconds := func(d time.Duration) float64 { return max(shortest, d.Seconds()) }
	for i, l := range []struct {
		name  string
		all   time.Duration
		value func(Minute) float64
	}{
		{"max", r.Total.Max, func(m Minute) float64 { return seconds(m.Max) }},
		{"p99", r.Total.P99, func(m Minute) float64 { return seconds(m.P99) }},
		{"p50", r.Total.P50, func(m Minute) float64 { return seconds(m.P50) }},
	} {
		if err := p.line(r, i, fmt.Sprintf("%s (of all %s)", l.name, lag(l.all)), l.value); err != nil {
			return nil, err
		}
	}
	p.Y.Min = shortest
	p.Y.Max = max(p.Y.Max, 1) * 1.5
	return p, nil
}

func (r *Result) drawWaiting() (*panel, error) {
	p := r.newPanel("What waits", "accounts")
	sum := func(all []int) (n float64) {
		for _, v := range all {
			n += float64(v)
		}
		return n
	}
	for i, l := range []struct {
		name  string
		value func(Minute) float64
	}{
		{"jobs in the queue, most in the minute", func(m Minute) float64 { return float64(m.Queue) }},
		{"in line at remote hosts", func(m Minute) float64 { return sum(m.InLine) }},
		{"due, and not emitted yet", func(m Minute) float64 { return float64(m.Overdue) }},
	} {
		if err := p.line(r, i, l.name, l.value); err != nil {
			return nil, err
		}
	}
	p.Y.Min, p.Y.Max = 0, max(10, 1.05*p.Y.Max)
	return p, nil
}

func (r *Result) drawSessions() (*panel, error) {
	p := r.newPanel("Sessions at a time, most in the minute", "sessions")
	for i, of := range r.Providers {
		if err := p.line(r, i, fmt.Sprintf("%s: most %s", of.Name, used(of.Sessions, of.SessionsAllowed)), func(m Minute) float64 { return float64(m.Sessions[i]) }); err != nil {
			return nil, err
		}
	}
	slots := r.Config.Workers * r.Config.Slots
	if err := p.line(r, -1, "all: most "+used(r.Total.Running, slots)+" slots", func(m Minute) float64 { return float64(m.Running) }); err != nil {
		return nil, err
	}
	p.Y.Min, p.Y.Max = 0, max(10, 1.05*p.Y.Max)
	return p, nil
}

// clock marks minutes as hours and minutes, at most thirteen of them.
func clock(least, most float64) (ticks []plot.Tick) {
	step := 1.0
	for _, s := range []float64{5, 10, 30, 60, 120, 240, 720, 1440} {
		if (most-least)/step > 12 {
			step = s
		}
	}
	for at := math.Ceil(least/step) * step; at <= most; at += step {
		ticks = append(ticks, plot.Tick{Value: at, Label: fmt.Sprintf("%02d:%02d", int(at)/60, int(at)%60)})
	}
	return ticks
}

// waits marks seconds by powers of ten, and by minutes and hours.
func waits(least, most float64) (ticks []plot.Tick) {
	for _, t := range []plot.Tick{
		{Value: 0.01, Label: "10 ms"}, {Value: 0.1, Label: "100 ms"}, {Value: 1, Label: "1 s"}, {Value: 10, Label: "10 s"},
		{Value: 60, Label: "1 min"}, {Value: 600, Label: "10 min"}, {Value: 3600, Label: "1 h"}, {Value: 36000, Label: "10 h"},
	} {
		if t.Value >= least*0.99 && t.Value <= most {
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// thousands marks four to eight numbers, with a comma before each three digits.
func thousands(least, most float64) (ticks []plot.Tick) {
	step := 1.0
	for grow := 0; (most-least)/step > 8; grow++ { // 1, 2, 5, 10, 20, …
		step *= []float64{2, 2.5, 2}[grow%3]
	}
	for at := math.Ceil(least/step) * step; at <= most; at += step {
		ticks = append(ticks, plot.Tick{Value: at, Label: grouped(int(at))})
	}
	return ticks
}
