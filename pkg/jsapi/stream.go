package jsapi

import (
	"cmp"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Same says whether a stream has the configuration that is wanted, so that it need not be updated: every process that
// starts would, and the server does not like that while another one makes its consumers. FirstSeq is of whoever made it.
func Same(there, want jetstream.StreamConfig) bool {
	want.FirstSeq = there.FirstSeq
	want.MaxMsgs, want.MaxBytes = cmp.Or(want.MaxMsgs, -1), cmp.Or(want.MaxBytes, -1) // as the server writes "no limit"
	want.MaxMsgSize, want.MaxMsgsPerSubject = cmp.Or(want.MaxMsgSize, -1), cmp.Or(want.MaxMsgsPerSubject, -1)
	want.MaxConsumers = cmp.Or(want.MaxConsumers, -1)
	want.Duplicates = cmp.Or(want.Duplicates, 2*time.Minute)
	want.Metadata, want.ConsumerLimits = there.Metadata, there.ConsumerLimits // the server's own notes
	return reflect.DeepEqual(there, want)
}
