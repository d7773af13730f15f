// Package queue brings jobs from the planner and from triggers to the workers, and what came of them
// back: run reports and live progress.
//
// Jobs lie in the JetStream work queue JOBS, one subject per account and kind of trigger. The queue
// itself refuses a second job of an account while one of the same kind is queued or unacknowledged
// ([ErrCoalesced]), so it is bounded by the number of accounts. Two durable pull consumers are read by
// every worker: manual jobs, drained first, and scheduled and push jobs. A claimed job is kept by
// [Claim.Keep]; the job of a worker that died is delivered again after AckWait. Who *runs* an account
// is said by the lock alone. A claim that was not kept is not settled any more ([ErrStale]): by then
// the job may be with another worker.
//
// Triggers of other programs come as requests, which a control answers, or lie in the stream TRIGGERS until one has
// carried them out.
//
// Reports lie in the stream RUNS, the last 20 of each account; progress is core NATS and kept nowhere.
// Streams and consumers that vanish under a running process are made again; operations are repeated
// until their context ends. Sequences of JOBS start at the time of its creation, so that nothing meant
// for a stream of the past can hit a job of the present.
package queue
