// Package transit carries messages from the workers that fetched them to delivery, and keeps what
// could not be delivered (JetStream: streams TRANSIT and DEAD, object store BODIES).
//
// It promises:
//
//  1. What is in transit is said by subjects: each names the keys of what it holds, one or those of a bundle of
//     small messages, and [Transit.Held] asks for them. What is published again under its subject, for want of an answer, is
//     refused with [ErrHeld] as long as the first copy is not acknowledged.
//  2. A message is published only when its body was read to its true end; what was stored of a body
//     that ended in an error is removed.
//  3. Every accepted [Publisher.Put] ends in exactly one call of done, whatever becomes of NATS.
//  4. No domain waits behind another: the messages lie in 16 lanes, chosen by the domain, and
//     [Intake.Next] serves the lanes in turn.
//  5. A body of any size passes in bounded memory, and its reader checks size and SHA-256 at the end.
//  6. A body is removed after the acknowledgement of its message, and never while TRANSIT or DEAD
//     hold a message of the same key.
//
// Nothing here is the truth about mail: streams that were deleted are made again, empty, by whoever
// meets their absence, and the UID index decides what is fetched once more.
//
// Bodies have the layout of a NATS object store, so that its tools can read them. The name of an
// object, "<account uid>.<key>.<time and random hex>", is also its NUID: the chunks lie under
// $O.BODIES.C.<name>, which lets an account be erased by one subject filter. This package writes,
// reads and removes them itself, because the object store of nats.go keeps thousands of chunks in
// memory and leaves a marker behind for each object it deletes.
package transit
