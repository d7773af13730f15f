package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// rows are what collectors were measured by: three messages m1, m2 and m3, a remote server with a fault, and the
// runs that follow. K keeps the messages at the remote server, D deletes them there. Whatever a row does, at
// its end every message it wants has arrived once and as it was, one more run changes nothing, and nothing was
// deleted that had not been accepted.
var rows = []played{
	{name: "K link drops inside m3", play: func(r *row) {
		r.at("m3").cut = true
		r.run()
		r.has("m1", "m2")
	}},
	{name: "D link drops inside m3", play: func(r *row) {
		r.at("m3").cut = true
		r.run()
		r.has("m1", "m2")
	}},
	{name: "D QUIT is lost and nothing was deleted", play: func(r *row) {
		r.drop.loseQUIT = true
		r.run()
		r.has("m1", "m2", "m3")
		r.remain("m1", "m2", "m3")
		r.drop.change(func() { r.drop.loseQUIT = false })
	}},
	{name: "K two messages share a unique-id", play: func(r *row) {
		r.at("m2").uid = r.at("m3").uid
	}},
	{name: "D two messages share a unique-id", play: func(r *row) {
		r.at("m2").uid = r.at("m3").uid
	}},
	{name: "D QUIT is lost, then a unique-id is used again", play: func(r *row) {
		r.drop.loseQUIT = true
		r.run()
		r.has("m1", "m2", "m3")
		r.drop.change(func() { r.drop.loseQUIT = false })
		r.reuse("m2", "new")
	}},
	{name: "K an old unique-id is used again", play: func(r *row) {
		r.run()
		r.has("m1", "m2", "m3")
		r.reuse("m2", "new")
	}},
	{name: "K no UIDL", play: func(r *row) { r.drop.noUIDL = true }},
	{name: "D no UIDL", play: func(r *row) { r.drop.noUIDL = true }},
	{name: "K UIDL lists fewer than STAT", play: func(r *row) {
		r.drop.unlisted = 1
		r.run()
		r.has("m1", "m2")
		r.drop.change(func() { r.drop.unlisted = 0 })
	}},
	{name: "D UIDL lists fewer than STAT", play: func(r *row) {
		r.drop.unlisted = 1
		r.run()
		r.has("m1", "m2")
		r.remain("m1", "m2", "m3") // a listing that contradicts itself deletes nothing
		r.drop.change(func() { r.drop.unlisted = 0 })
	}},
	{name: "K RETR of m2 is refused for ever", play: func(r *row) {
		r.at("m2").refused = true
		r.run()
		r.has("m1", "m3")
		r.untilDead()
		r.lost = []string{"m2"}
	}},
	{name: "D RETR of m2 is refused for ever", play: func(r *row) {
		r.at("m2").refused = true
		r.run()
		r.has("m1", "m3")
		r.remain("m2")
		r.untilDead()
		r.lost = []string{"m2"}
	}},
	{name: "K m2 ends in text.CRLF", play: (*row).endless},
	{name: "D m2 ends in text.CRLF", play: (*row).endless},
	{name: "K m2 ends in text.CRLF, lenient dot", account: func(a *account.Account) { a.LenientDot = true },
		play: func(r *row) { r.glue("m2") }},
	{name: "K a lone dot between bare LF inside m2", play: func(r *row) {
		l := r.at("m2")
		text := "one\n.\ntwo\n..\nthree\n"
		l.raw = fmt.Appendf(l.raw, "%s\r\n", text)
		// The border to LMTP makes lines of it: no bare LF may leave the house.
		r.wants["m2"] = bytes.ReplaceAll(bytes.ReplaceAll(l.raw, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}},
	{name: "K sizes in LIST lie", play: func(r *row) { r.at("m1").size, r.at("m2").size = 3, 99_999_999 }},
	{name: "D sizes in LIST lie", play: func(r *row) { r.at("m1").size, r.at("m2").size = 3, 99_999_999 }},
	{name: "D delivery of m2 fails for now", play: func(r *row) {
		r.m.refuse(r.id("m2"), temporary())
		r.trigger()
		r.has("m1", "m3")
		testenv.Eventually(r.t, patience, "m2 was tried again", func() bool { return r.m.refused(r.id("m2")) >= 2 })
		r.m.refuse(r.id("m2"), nil)
		r.has("m2")
		r.ended(r.runs)
	}},
	{name: "D nobody is there to take m2", play: func(r *row) {
		r.m.refuse(r.id("m2"), permanent())
		r.run()
		r.has("m1", "m3")
		r.remain("m2")
		r.untilDead()
		r.lost = []string{"m2"}
	}},
}

type played struct {
	name    string
	account func(*account.Account)
	play    func(*row)
}

// endless lets m2 have no end mark.
func (r *row) endless() {
	r.glue("m2")
	r.run()
	r.run() // the first had to give up its session within m2: m3 comes before another attempt
	r.has("m1", "m3")
	r.untilDead()
	r.lost = []string{"m2"}
}

// TestMatrix plays all rows in one house: a worker, a delivery, an LMTP destination, and a maildrop a row.
func TestMatrix(t *testing.T) {
	t.Parallel()
	acquire(t)
	m := &matrix{house: newHouse(t, nil), sink: newSink(t), answers: map[string]error{}, tries: map[string]int{}}
	m.destination(m.sink.destination())
	m.sink.decide(m.answer)
	m.startWith("worker", []string{"--answer-timeout", "2s"})
	m.start("delivery")
	m.cli = m.control()
	for i, r := range slices.Concat(rows, stormRows) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			row := m.row(t, fmt.Sprintf("row%d", i), r.name, r.account)
			r.play(row)
			row.finish()
		})
	}
}

// TestMatrixKilled is the row "K kill -9 while delivering m2": each message arrives once, m2 once more at most
// where its destination had accepted it already, which is the one window that is named.
func TestMatrixKilled(t *testing.T) {
	t.Parallel()
	for _, p := range []point{
		{role: "worker", name: "worker.publishing:2"},
		{role: "delivery", name: "delivery.before-dot:2"},
		{role: "delivery", name: "delivery.accepted:2", doubles: 1},
	} {
		t.Run("K kill -9 at "+p.name, func(t *testing.T) {
			t.Parallel()
			acquire(t)
			m := &matrix{house: newHouse(t, nil), sink: newSink(t)}
			m.destination(m.sink.destination())
			victims := map[string][]string{p.role: {"MAILFERRY_KILL_AT=" + p.name}}
			one := []string{"--handlers", "1"}
			victim := m.start("worker", victims["worker"]...)
			if delivery := m.startWith("delivery", one, victims["delivery"]...); p.role == "delivery" {
				victim = delivery
			}
			r := m.row(t, "killed", "K", nil)
			r.trigger()
			testenv.Eventually(t, patience, "the process is killed", victim.ended)
			if p.role == "worker" {
				m.start("worker")
			} else {
				m.startWith("delivery", one)
			}
			r.ended(r.runs)
			r.doubles = p.doubles
			r.finish()
		})
	}
}

// patience is the outer limit of every wait: a machine may be slow.
const patience = 90 * time.Second

// matrix is the house of all rows.
type matrix struct {
	*house
	sink *sink
	cli  *client

	rmu     sync.Mutex
	answers map[string]error // of the destination, by message
	tries   map[string]int   // that were refused
}

// answer is the destination's.
func (m *matrix) answer(raw []byte) error {
	id := seedLine.FindSubmatch(raw)
	m.rmu.Lock()
	defer m.rmu.Unlock()
	if id == nil || m.answers[string(id[1])] == nil {
		return nil
	}
	m.tries[string(id[1])]++
	return m.answers[string(id[1])]
}

// refuse lets the destination answer a message by err from now on.
func (m *matrix) refuse(id string, err error) {
	m.rmu.Lock()
	defer m.rmu.Unlock()
	m.answers[id] = err
}

func (m *matrix) refused(id string) int {
	m.rmu.Lock()
	defer m.rmu.Unlock()
	return m.tries[id]
}

// row is one of the matrix while it is played. Messages go by the names of the table.
type row struct {
	t     *testing.T
	m     *matrix
	name  string
	drop  *maildrop
	acc   account.Account
	runs  int               // triggered
	wants map[string][]byte // what is to arrive
	lost  []string          // but not these
	lies  []string          // what was put into the maildrop
	kept  []string          // what stays there, if not all or nothing
	// doubles is how many may arrive once more.
	doubles int
	// twice: each arrives twice, under another key.
	twice bool
}

func (m *matrix) row(t *testing.T, name, title string, change func(*account.Account)) *row {
	r := &row{t: t, m: m, name: name, wants: map[string][]byte{}, lies: []string{"m1", "m2", "m3"}}
	r.drop = newMaildrop(t, r.letter("m1"), r.letter("m2"), r.letter("m3"))
	r.drop.onDELE = func(id string) {
		if m.sink.copies(r.acc.ForwardTo)[id] == 0 {
			t.Errorf("DELE of %s, which nobody has accepted", id)
		}
	}
	r.acc = m.add(account.Account{Name: name, Host: r.drop.addr, Protocol: account.POP3, After: account.Leave}, "secret", func(a *account.Account) {
		if strings.HasPrefix(title, "D ") {
			a.After = account.Delete
		}
		if change != nil {
			change(a)
		}
	})
	return r
}

func (r *row) id(name string) string { return r.name + "-" + name }

// letter makes a message that is to arrive.
func (r *row) letter(name string) *letter {
	raw := fmt.Appendf(nil, "From: a@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\nX-Seed-Id: %s\r\n\r\n.dot\r\ntext of %s\r\n",
		name, r.id(name), r.id(name), strings.Repeat(name, 100))
	r.wants[name] = raw
	return &letter{id: r.id(name), uid: "uid-" + name, raw: raw}
}

// at returns a message in the maildrop, to be changed before the first run.
func (r *row) at(name string) *letter { return r.drop.letter(r.id(name)) }

// glue takes the end of the last line away: the end mark follows the text at once, as Exchange 2000 has it.
func (r *row) glue(name string) {
	l := r.at(name)
	l.wire = bytes.Replace(bytes.TrimSuffix(l.raw, []byte("\r\n")), []byte("\r\n."), []byte("\r\n.."), 1)
	l.wire = append(l.wire, ".\r\n"...)
}

// reuse puts a new message in the place of an old one, with the same unique-id.
func (r *row) reuse(old, name string) {
	l := r.letter(name)
	r.drop.change(func() {
		i := slices.IndexFunc(r.drop.letters, func(l *letter) bool { return l.id == r.id(old) })
		l.uid = r.drop.letters[i].uid
		r.lies[slices.Index(r.lies, old)] = name
		r.drop.letters[i] = l
	})
}

func (r *row) trigger() {
	r.t.Helper()
	r.runs = r.drop.ended() + 1
	testenv.Eventually(r.t, patience, "the job before is settled", func() bool {
		err := r.m.queue.Publish(r.t.Context(), queue.Job{
			ID: fmt.Sprintf("%s-%d", r.name, r.runs), AccountUID: r.acc.UID, Domain: r.acc.Domain, Name: r.acc.Name,
			Revision: r.acc.Revision, Trigger: queue.Scheduled, DueAt: time.Now(),
		})
		return err == nil
	})
}

// ended waits for the end of the n-th session and of its run.
func (r *row) ended(n int) {
	r.t.Helper()
	testenv.Eventually(r.t, patience, "a run has ended", func() bool { return r.drop.ended() >= n && r.m.counts(r.acc).Job == "" })
}

func (r *row) run() {
	r.t.Helper()
	r.trigger()
	r.ended(r.runs)
}

// has waits until the destination has accepted the messages and the index says so.
func (r *row) has(names ...string) {
	r.t.Helper()
	testenv.Eventually(r.t, patience, fmt.Sprintf("%v have arrived", names), func() bool {
		got := r.m.sink.copies(r.acc.ForwardTo)
		for _, n := range names {
			if got[r.id(n)] == 0 {
				return false
			}
		}
		return r.m.counts(r.acc).Marked <= len(r.wants)-len(names)
	})
}

// remain says what must be left at the remote server now.
func (r *row) remain(names ...string) {
	r.t.Helper()
	var want []string
	for _, n := range names {
		want = append(want, r.id(n))
	}
	if left := r.drop.left(); !slices.Equal(left, want) {
		r.t.Errorf("left at the remote server: %v, want %v", left, want)
	}
}

// untilDead runs until the account has a dead letter, which the command line shows.
func (r *row) untilDead() {
	r.t.Helper()
	dead := func() bool { return strings.Contains(r.m.cli.ok("dead", "list"), r.acc.Ref()) }
	for start := time.Now(); !dead(); r.run() {
		if time.Since(start) > patience {
			r.t.Fatal("nothing is dead")
		}
	}
}

// finish looks at how the row ends.
func (r *row) finish() {
	r.t.Helper()
	var seeds []testenv.Seed
	var names, keep []string
	for name, raw := range r.wants {
		if !slices.Contains(r.lost, name) {
			names, seeds = append(names, name), append(seeds, testenv.Seed{ID: r.id(name), Raw: raw})
		}
	}
	if keep = r.lost; r.acc.After == account.Leave {
		keep = r.lies
	}
	if r.kept != nil {
		keep = r.kept
	}
	r.run()
	r.has(names...)
	r.run() // what was committed after the session of the last run goes now; otherwise nothing happens
	if r.twice {
		for _, m := range seeds {
			if n := r.m.sink.copies(r.acc.ForwardTo)[m.ID]; n != 2 {
				r.t.Errorf("%s arrived %d times, want 2", m.ID, n)
			}
		}
	} else {
		checkCopies(r.t, r.m.sink, r.acc, seeds, r.doubles)
	}
	r.remain(keep...)
	if c := r.m.counts(r.acc); c.Marked != 0 || c.Parked != len(r.lost) {
		r.t.Errorf("the index is not settled: %+v", c)
	}
}
