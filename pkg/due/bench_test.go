package due_test

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// spent is what Redis and this process have used of processors; the machine may be busy with other work.
type spent struct{ redis, own time.Duration }

func spentBy(b *testing.B, r *testenv.Redis) spent {
	b.Helper()
	info, err := r.Client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	var s spent
	for _, field := range []string{"used_cpu_user_main_thread:", "used_cpu_sys_main_thread:"} {
		_, rest, _ := strings.Cut(info, field)
		v, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			b.Fatal(err)
		}
		s.redis += time.Duration(v * float64(time.Second))
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	s.own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return s
}

// report reports what each of n accounts has cost since.
func (s spent) report(b *testing.B, r *testenv.Redis, n int) {
	now := spentBy(b, r)
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "accounts/s")
	b.ReportMetric(each(now.redis-s.redis), "redis-µs/account")
	b.ReportMetric(each(now.own-s.own), "own-µs/account")
	b.ReportMetric(0, "ns/op")
}

func crowd(n int) []due.Planned {
	all := make([]due.Planned, n)
	for i := range all {
		e := due.Entry{
			UID: fmt.Sprintf("%026d", i), Domain: fmt.Sprintf("d%03d.example.com", i%1000), Name: fmt.Sprint("gmail-", i), Revision: uint64(1_800_000_000_000 + i), Active: true,
		}
		all[i] = due.Planned{Entry: e, Next: time.UnixMilli(1000)}
	}
	return all
}

// BenchmarkClaim claims and commits accounts that are all due.
func BenchmarkClaim(b *testing.B) {
	for _, limit := range []int{10, 100} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			r := testenv.NewRedis(b)
			x := due.New(r.Client)
			all := crowd(size(b))
			if err := x.PutAll(b.Context(), all); err != nil {
				b.Fatal(err)
			}
			turn := due.Turn{Planner: "p", Shards: due.Share(0, 1), Limit: limit, Lease: time.Minute, Hold: time.Minute}
			n, was := 0, spentBy(b, r)
			for b.Loop() {
				claims, _, err := x.Claim(b.Context(), turn)
				if err != nil || len(claims) == 0 {
					b.Fatal(len(claims), err)
				}
				err = x.Commit(b.Context(), claims, func(c due.Claimed) time.Time { return schedule.Next(c.UID, 5*time.Minute, c.Due) })
				if err != nil {
					b.Fatal(err)
				}
				n += len(claims)
			}
			was.report(b, r, n)
		})
	}
}

// BenchmarkPut puts accounts into an empty index.
func BenchmarkPut(b *testing.B) {
	r := testenv.NewRedis(b)
	x := due.New(r.Client)
	all, n := crowd(size(b)), 0
	was := spentBy(b, r)
	for b.Loop() {
		if n%len(all) == 0 {
			if err := r.Client.FlushAll(b.Context()).Err(); err != nil {
				b.Fatal(err)
			}
		}
		if err := x.PutAll(b.Context(), all[n%len(all):][:2000]); err != nil {
			b.Fatal(err)
		}
		n += 2000
	}
	was.report(b, r, n)
}

// size is how many accounts there are, BENCH_DUE or 100,000.
func size(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("BENCH_DUE"), "100000"))
	if err != nil {
		b.Fatal(err)
	}
	return n
}
