package simulate

import (
	"math"
	"time"
)

// What things cost, as docs/capacity.md measured it on one machine with two processors.
const (
	// planJob is the processor time of a planner for a job.
	planJob = 36 * time.Microsecond
	// poll is the processor time of a poll that finds nothing, and mail what a message adds: worker, NATS and Redis together.
	poll, mail = 3500 * time.Microsecond, 300 * time.Microsecond
	// accountBytes is what the due index has of an account in Redis.
	accountBytes = 246
	// fillOf is how much of the slots is to be used at most, and planOf how much of a processor by a planner.
	fillOf, planOf = 0.8, 0.5
	// planSpare is one planner more than is needed, so that one may die.
	planSpare = 1
)

// Needs is what a fleet needs for what was simulated. Processors are those of the machine of docs/capacity.md.
type Needs struct {
	Planners                          int
	PlannerProcessors, PollProcessors float64
	// Slots at a time, and workers that have them, with a fifth to spare.
	Slots, Workers int
	RedisBytes     int
}

// Needs works it out from the busiest minute.
func (r *Result) Needs() Needs {
	var n Needs
	var emitted, mails int
	for _, m := range r.Minutes {
		emitted, mails = max(emitted, m.Emitted), max(mails, m.Mail)
	}
	n.PlannerProcessors = float64(emitted) / 60 * planJob.Seconds()
	n.Planners = max(1, int(math.Ceil(n.PlannerProcessors/planOf))) + planSpare
	n.PollProcessors = float64(r.Total.Busiest)/60*poll.Seconds() + float64(mails)/60*mail.Seconds()
	n.Slots = r.Total.Running
	n.Workers = int(math.Ceil(float64(n.Slots) / fillOf / float64(r.Config.Slots)))
	n.RedisBytes = r.Config.Accounts * accountBytes
	return n
}
