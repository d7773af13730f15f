package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/schedule"
)

// idling is a session of which only the waiting is real: each Idle ends as the script says, or when its time is over.
type idling struct {
	remote.Session
	script  []idled
	deaf    bool // to ctx
	asked   []time.Duration
	aborted chan struct{}
}

type idled struct {
	after time.Duration
	news  bool
	err   error
}

func (s *idling) Idle(ctx context.Context, most time.Duration) (bool, error) {
	s.asked = append(s.asked, most)
	end := idled{after: most}
	if len(s.script) > 0 && s.script[0].after < most {
		end, s.script = s.script[0], s.script[1:]
	}
	heard := ctx.Done()
	if s.deaf {
		heard = nil
	}
	select {
	case <-time.After(end.after):
		return end.news, end.err
	case <-heard:
		return false, ctx.Err()
	case <-s.aborted:
		return false, fault.New(fault.Network, "idle", errAborted)
	}
}

func (s *idling) Abort() {
	select {
	case <-s.aborted:
	default:
		close(s.aborted)
	}
}

// TestWaitingTakesItsTime says when a watch ends, and how: the clock is the test's own.
func TestWaitingTakesItsTime(t *testing.T) {
	t.Parallel()
	const uid = "a"
	length := remote.IdleFor("imap.example.net")
	length -= schedule.Offset(uid, length/10)
	cut := fault.Errorf(fault.Network, "idle", "cut")
	late := length - time.Second // within one IDLE
	for name, tt := range map[string]struct {
		script     []idled
		news       bool // came before
		falseAlarm bool
		deaf       bool
		stop       time.Duration // after which the watch has to end; 0: never
		want       error
		at         time.Duration
		idles      int
	}{
		"news":                           {script: []idled{{10 * time.Second, true, nil}}, want: errNews, at: 10 * time.Second, idles: 1},
		"news came before":               {news: true, want: errNews, at: pause},
		"news at once: not sooner":       {script: []idled{{time.Millisecond, true, nil}}, want: errNews, at: pause, idles: 1},
		"news after a false alarm":       {script: []idled{{2 * time.Second, true, nil}}, falseAlarm: true, want: errNews, at: alarmPause, idles: 1},
		"long after a false alarm":       {script: []idled{{5 * time.Minute, true, nil}}, falseAlarm: true, want: errNews, at: 5 * time.Minute, idles: 1},
		"IDLE is issued anew":            {script: []idled{{length + late, false, nil}}, stop: 3*length + late, want: context.Canceled, at: 3*length + late, idles: 4},
		"anew, and then news":            {script: []idled{{late, false, nil}, {late, false, nil}, {late, true, nil}}, want: errNews, at: 3 * late, idles: 3},
		"a cut":                          {script: []idled{{5 * time.Second, false, cut}}, want: cut, at: 5 * time.Second, idles: 1},
		"wanted":                         {stop: time.Minute, want: context.Canceled, at: time.Minute, idles: 1},
		"wanted, and the server is deaf": {stop: time.Minute, deaf: true, want: errAborted, at: time.Minute + yieldTime, idles: 1},
		"wanted while it holds back":     {news: true, falseAlarm: true, stop: 3 * time.Second, want: context.Canceled, at: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(context.Background())
				defer stop()
				s := &idling{script: tt.script, deaf: tt.deaf, aborted: make(chan struct{})}
				x := &watch{acc: account.Account{UID: uid}, session: s, idler: s, host: "imap.example.net", news: tt.news, falseAlarm: tt.falseAlarm, since: time.Now()}
				if tt.stop > 0 {
					time.AfterFunc(tt.stop, stop)
				}
				err := x.wait(ctx)
				if got := time.Since(x.since); got != tt.at || !errors.Is(err, tt.want) {
					t.Errorf("ended after %v with %v, want %v with %v", got, err, tt.at, tt.want)
				}
				if len(s.asked) != tt.idles {
					t.Errorf("IDLE %d times, want %d", len(s.asked), tt.idles)
				}
				for _, most := range s.asked {
					if most != length {
						t.Errorf("IDLE for %v, want %v", most, length)
					}
				}
			})
		})
	}
}

// errAborted stands for what a session says that was aborted.
var errAborted = errors.New("aborted")

// TestWatchEndsByItself says when a watch has to end though its session does not: after a while, and when the worker drains.
func TestWatchEndsByItself(t *testing.T) {
	t.Parallel()
	const most = 30 * time.Minute
	for name, tt := range map[string]struct {
		drain, gone time.Duration // 0: never
		want        error
		from, to    time.Duration
	}{
		"long enough": {want: errOver, from: most - most/5, to: most},
		"a drain":     {drain: 5 * time.Minute, want: errDrained, from: 5 * time.Minute, to: 5 * time.Minute},
		"its session": {gone: time.Minute, want: context.Canceled, from: time.Minute, to: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(context.Background())
				defer stop(nil)
				w := &Worker{cfg: Config{PushHold: most, PushGap: 4 * most}, watchers: newWatchers(1, 1)} // the due time stays
				defer w.watchers.drain()
				if tt.drain > 0 {
					time.AfterFunc(tt.drain, w.watchers.drain)
				}
				if tt.gone > 0 {
					time.AfterFunc(tt.gone, func() { stop(context.Canceled) })
				}
				begin := time.Now()
				x := &watch{w: w, acc: account.Account{UID: "a"}, hold: &ledger.Hold{}}
				x.keep(ctx, stop)
				if got := time.Since(begin); got < tt.from || got > tt.to || !errors.Is(context.Cause(ctx), tt.want) {
					t.Errorf("ended after %v: %v", got, context.Cause(ctx))
				}
			})
		})
	}
}
