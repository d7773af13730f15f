package queue

import (
	"errors"
	"fmt"
	"strings"
	"time"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Trigger says who asked for a job.
type Trigger string

// The triggers.
const (
	Scheduled Trigger = "scheduled"
	Manual    Trigger = "manual"
	Push      Trigger = "push"
)

// Proto returns the wire form of t.
func (t Trigger) Proto() mailferryv1.Trigger {
	switch t {
	case Scheduled:
		return mailferryv1.Trigger_TRIGGER_SCHEDULED
	case Manual:
		return mailferryv1.Trigger_TRIGGER_MANUAL
	case Push:
		return mailferryv1.Trigger_TRIGGER_PUSH
	}
	return mailferryv1.Trigger_TRIGGER_UNSPECIFIED
}

// token is the word of t in a subject, "" if t is none of the triggers.
func (t Trigger) token() string {
	switch t {
	case Scheduled, Manual, Push:
		return string(t[:1])
	}
	return ""
}

func triggerOf(token string) Trigger {
	for _, t := range []Trigger{Scheduled, Manual, Push} {
		if t.token() == token {
			return t
		}
	}
	return ""
}

// Job is one request to run one account.
type Job struct {
	ID         string
	AccountUID string
	Domain     string
	Name       string
	// Revision of the account: the worker loads it or a newer one.
	Revision uint64
	Trigger  Trigger
	// DueAt is when the schedule wanted the run, or when the trigger was accepted.
	DueAt time.Time
	// Once says that a job with this ID that was queued within the last ten minutes serves for this one, even if it
	// is done with. Only who publishes knows it.
	Once bool
}

const subjectRoot = "ferry.v1.job."

func subjectOf(t Trigger, uid string) string { return subjectRoot + t.token() + "." + uid }

// checkUID refuses what cannot stand as one token of a subject.
func checkUID(uid string) error {
	if uid == "" || len(uid) > 128 || strings.ContainsFunc(uid, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		return fmt.Errorf("%.200q is not the uid of an account", uid)
	}
	return nil
}

var errIncomplete = errors.New("the job lacks id, domain or name")

// encode returns subject and payload of j.
func (j Job) encode() (string, []byte, error) {
	if err := checkUID(j.AccountUID); err != nil {
		return "", nil, err
	}
	if j.Trigger.token() == "" {
		return "", nil, fmt.Errorf("%.200q is not a trigger", string(j.Trigger))
	}
	if j.ID == "" || j.Domain == "" || j.Name == "" {
		return "", nil, errIncomplete
	}
	p := &mailferryv1.Job{
		Id: j.ID, AccountUid: j.AccountUID, Domain: j.Domain, Name: j.Name, Revision: j.Revision,
		Trigger: j.Trigger.Proto(),
	}
	if !j.DueAt.IsZero() {
		p.DueAt = timestamppb.New(j.DueAt)
	}
	b, err := proto.Marshal(p)
	if err == nil && len(b) > maxJob-1024 { // the stream counts subject and headers too
		err = errors.New("the job is too large")
	}
	return subjectOf(j.Trigger, j.AccountUID), b, err
}

// decode reads a job. What the subject says holds in any case; with an error it is all that is known.
func decode(subject string, payload []byte) (Job, error) {
	token, uid, _ := strings.Cut(strings.TrimPrefix(subject, subjectRoot), ".")
	j := Job{AccountUID: uid, Trigger: triggerOf(token)}
	if !strings.HasPrefix(subject, subjectRoot) || j.Trigger == "" {
		return Job{}, errors.New("not a job subject")
	}
	if err := checkUID(uid); err != nil {
		return Job{Trigger: j.Trigger}, err
	}
	var p mailferryv1.Job
	if err := proto.Unmarshal(payload, &p); err != nil {
		return j, errors.New("the payload is not a job")
	}
	switch {
	case p.GetAccountUid() != uid:
		return j, errors.New("payload and subject name different accounts")
	case p.GetTrigger() != j.Trigger.Proto():
		return j, errors.New("payload and subject name different triggers")
	case p.GetDueAt() != nil && p.GetDueAt().CheckValid() != nil:
		return j, errors.New("the due time is not a time")
	case p.GetId() == "" || p.GetDomain() == "" || p.GetName() == "":
		return j, errIncomplete
	}
	j.ID, j.Domain, j.Name, j.Revision = p.GetId(), p.GetDomain(), p.GetName(), p.GetRevision()
	if t := p.GetDueAt(); t != nil {
		j.DueAt = t.AsTime()
	}
	return j, nil
}
