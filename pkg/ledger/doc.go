// Package ledger keeps what must be agreed on about a remote mailbox: who holds its lock, what has been
// collected from it (the UID index) and what is on its way (marks). It lives in Redis; all keys of a remote
// mailbox bear one hash tag, and each step below is one Lua script, so that a step happens whole or not at
// all, sees every account of the mailbox, and may be sent twice. Time is Redis' own.
//
// # The lock
//
//  1. [Ledger.Acquire] takes a free lock, counts the start of the job and reads index, states and marks. A
//     held lock is a [BusyError]: for a run of the same account the holder's again flag is set, another
//     account joins the waiters. A free lock is refused while another account has waited longer
//     (BusyError.Queued) and tried within the last minute.
//  2. [Hold.Context] dies when the lock can no longer be trusted: at the start of the last renewal that
//     succeeded + TTL − margin by the monotonic clock, or at once when a renewal is refused. [Hold.Trusted]
//     asks the clock itself, so that a process that slept says no before anything of it has run.
//  3. Every write of a run is refused with [ErrStale] unless the lock bears its token and the account has
//     the epoch the run knows.
//  4. [Hold.Finish] clears the count of starts; [Hold.Release] frees the lock if it is still ours.
//  5. [Hold.Watch] ends the run and keeps the lock, of kind push, for a session that waits for changes. It yields to
//     every run: Acquire answers BusyError.Watched and leaves word in the lock, [Hold.Wanted] hears of it at the next
//     renewal. Whoever wants it sooner tells the watcher.
//
// # A key
//
//		                 Mark            Take              Commit
//		      new ───────────► marked ─────────► leased ─────────────► collected ──Doom──► deleting
//		       ▲ ▲              │ ▲  ▲             │ │ │                    │                 │
//		       │ └────Unmark────┘ │  └───Return────┘ │ └─Park─► parked      │ vanished,       │ Seen: gone,
//		       │                  └──────Retry───────│────────────┘ │       │ aged            │ or new size
//		       └───── the time has come ── deferred ◄┘ Defer        │       ▼                 ▼
//		       └──────────────────────────── Unpark ────────────────┴──── ghost ◄─────────────┘
//
//	 1. new → marked, [Hold.Mark]: refused for a key that is collected, skipped, parked or deferred, whose
//	    mark is not the one that was read, or under a live lease. The mark counts the attempts to fetch; one
//	    too many parks the key. [Hold.Unmark] gives an attempt back: the message is not in TRANSIT.
//	 2. new → skipped, [Hold.Skip]: passed over on purpose; never fetched, deleted or aged. new → collected,
//	    [Hold.Match]: it was accepted under another key, as [Hold.Storm] and its digests tell.
//	 3. marked → leased, [Ledger.Take]: a delivery alone may hand the message over. A message without a mark,
//	    or with one of an older epoch, is adopted under the current epoch. The mark counts deliveries that
//	    took it and neither gave it back ([Ledger.Return]) nor ended it: one too many is Taken.Poison.
//	 4. leased → leased, [Ledger.Renew] and [Ledger.Record]: while the mark bears the lease's token. Record
//	    keeps the route and the recipients that are served; they survive deferring, parking and fetching again.
//	 5. → collected, [Ledger.Commit]: the destination accepted the message. It needs no mark and no token, may
//	    be repeated, and writes only under the epoch of the lease and the UIDVALIDITY of the key.
//	 6. leased → deferred, [Ledger.Defer], and back to new when the time has come or a run does not wait for it
//	    ([Hold.Resume]); leased → parked, [Ledger.Park]; parked → marked, [Ledger.Retry]; parked → new, [Ledger.Unpark].
//	 7. collected → deleting, [Hold.Doom]: only if every active account of the remote mailbox has collected
//	    it. [Hold.Seen], told a complete listing, forgets a deleting key that is gone. A key that vanished
//	    without us leaves the index after several complete listings and a grace period.
//	    collected or deleting → skipped, [Hold.Doubt]: it may name another message, and nobody can tell.
//	 8. A POP3 key that left the index is a ghost for some hours: new for a run that lists it, but a copy
//	    without a mark, still under way, is a repeat.
//	 9. [Ledger.Reset] starts another epoch: index and states are forgotten, a run is refused at its next
//	    write, a lease stays good for its delivery, whose Commit then writes nothing. [Ledger.Copy] takes
//	    everything to another slot and leaves a signpost that the calls of a delivery follow.
//	    [Ledger.Erase] leaves a tombstone: Take answers Gone.
//
// # The index
//
// A POP3 or content key is 11 bytes: 55 bits of a keyed hash (RFC 1939 §7 lets a unique-id have 70 octets), its folded
// LIST size, the day, and whether it was skipped; buckets of about 256 are split one at a time (linear
// hashing). IMAP keeps UIDVALIDITY and a UID set for each mailbox (RFC 9051 §2.3.1.1, §9 sequence-set), and, where
// nothing in it is left to do, what the server said of it then: [Hold.Quiet]. New
// entries go to an open tail of at most 128, folded in by the script that finds it full or writes many. The id of the
// installation key stands beside the epoch; with another key everything is refused as "wrong installation
// key", never taken for new.
package ledger
