package queue

import (
	"testing"
	"time"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestSubjectsAreThoseOfTheDesign(t *testing.T) {
	t.Parallel()
	for tr, want := range map[Trigger]string{
		Manual: "ferry.v1.job.m.u1", Scheduled: "ferry.v1.job.s.u1", Push: "ferry.v1.job.p.u1",
	} {
		if subject, _, err := job("u1", tr).encode(); err != nil || subject != want {
			t.Errorf("%s: %q, %v", tr, subject, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := &mailferryv1.Job{
		Id: "j", AccountUid: "u1", Domain: "example.com", Name: "n", Trigger: mailferryv1.Trigger_TRIGGER_MANUAL,
	}
	for name, change := range map[string]func(*mailferryv1.Job){
		"another account": func(p *mailferryv1.Job) { p.AccountUid = "u2" },
		"another trigger": func(p *mailferryv1.Job) { p.Trigger = mailferryv1.Trigger_TRIGGER_PUSH },
		"no time":         func(p *mailferryv1.Job) { p.DueAt = &timestamppb.Timestamp{Nanos: -1} },
		"no id":           func(p *mailferryv1.Job) { p.Id = "" },
		"no domain":       func(p *mailferryv1.Job) { p.Domain = "" },
		"no name":         func(p *mailferryv1.Job) { p.Name = "" },
	} {
		p := proto.CloneOf(good)
		change(p)
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if j, err := decode("ferry.v1.job.m.u1", b); err == nil || j != (Job{AccountUID: "u1", Trigger: Manual}) {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
	}
	b, _ := proto.Marshal(good)
	if _, err := decode("ferry.v1.job.m.u1", b); err != nil {
		t.Error(err)
	}
	for _, subject := range []string{"", "ferry.v1.job.", "ferry.v1.job.m", "ferry.v1.job.x.u1", "ferry.v1.job.m.a.b", "other.m.u1"} {
		if _, err := decode(subject, b); err == nil {
			t.Errorf("%q was taken", subject)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, tr := range []Trigger{Scheduled, Manual, Push} {
		subject, b, err := job("u1", tr).encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(subject, b)
		f.Add(subject, b[:len(b)/2])
	}
	f.Add("ferry.v1.job.m.", []byte(nil))
	f.Add("ferry.v1.job.s.a.b", []byte{0xff})
	f.Fuzz(func(t *testing.T, subject string, payload []byte) {
		j, err := decode(subject, payload)
		if err != nil {
			if j.ID != "" || j.Domain != "" || j.Name != "" || j.Revision != 0 || j.DueAt != (time.Time{}) {
				t.Fatalf("poison says %+v", j)
			}
			return
		}
		s, b, err := j.encode()
		if len(payload) > maxJob/2 {
			return // may be too large to be published, not to be read
		}
		if err != nil || s != subject {
			t.Fatalf("%+v encodes to %q, %v", j, s, err)
		}
		if again, err := decode(s, b); err != nil || again != j {
			t.Fatalf("%+v becomes %+v, %v", j, again, err)
		}
	})
}
