package jsapi

import (
	"cmp"
	"context"
	"errors"
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

// MakeStream makes a stream, or brings the one that is there to cfg, where update says so and it is not as it should be.
func MakeStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig, update bool) error {
	s, err := js.Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, cfg)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		s, err = js.Stream(ctx, cfg.Name)
	}
	if err != nil || !update || Same(s.CachedInfo().Config, cfg) {
		return err
	}
	cfg.FirstSeq = s.CachedInfo().Config.FirstSeq // of the process that made it
	_, err = js.UpdateStream(ctx, cfg)
	return err
}
