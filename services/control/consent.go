package control

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/oauth"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// CallbackPath is where providers send the browsers of owners back to.
const CallbackPath = "/oauth/callback"

// StartConsent asks for consent and waits until it is given.
func (s *Service) StartConsent(ctx context.Context, req *mailferryv1.StartConsentRequest, stream *connect.ServerStream[mailferryv1.StartConsentResponse]) error {
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return err
	}
	if s.Consents == nil || a.Auth != account.OAuth2 {
		return refusal(connect.CodeFailedPrecondition, fault.Policy, "change it with 'mailferry account edit "+a.Ref()+" --auth oauth2 --oauth-provider NAME'",
			"account %s does not sign in with OAuth 2.0", a.Ref())
	}
	owner := oauth.Owner{UID: a.UID, Domain: a.Domain, Name: a.Name, Provider: a.OAuthProvider, Username: a.Username}
	ctx, cancel := context.WithTimeout(ctx, oauth.ConsentTime)
	ended := make(chan struct{})
	go func() { // the drain ends those who wait
		defer close(ended)
		select {
		case <-s.drain:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() {
		cancel()
		<-ended
	}()
	if req.GetDevice() {
		err = s.byDevice(ctx, owner, stream)
	} else {
		err = s.byLink(ctx, owner, stream)
	}
	if err != nil {
		return asError("account "+a.Ref(), err)
	}
	return stream.Send(&mailferryv1.StartConsentResponse{Given: true})
}

func (s *Service) byDevice(ctx context.Context, o oauth.Owner, stream *connect.ServerStream[mailferryv1.StartConsentResponse]) error {
	d, err := s.Consents.StartDevice(ctx, o)
	if err != nil {
		return err
	}
	if err := stream.Send(&mailferryv1.StartConsentResponse{Link: d.URL, Code: d.Code, ExpiresAt: timestamppb.New(d.Expires)}); err != nil {
		return err
	}
	if err := s.Consents.AwaitDevice(ctx, d); err != nil {
		return err
	}
	return s.resume(ctx, o)
}

// byLink waits for the browser to come back, to whichever replica.
func (s *Service) byLink(ctx context.Context, o oauth.Owner, stream *connect.ServerStream[mailferryv1.StartConsentResponse]) error {
	before, err := s.Consents.Given(ctx, o.UID)
	if err != nil {
		return err
	}
	link, err := s.Consents.Start(ctx, o)
	if err != nil {
		return err
	}
	expires := time.Now().Add(oauth.ConsentTime)
	if err := stream.Send(&mailferryv1.StartConsentResponse{Link: link, ExpiresAt: timestamppb.New(expires)}); err != nil {
		return err
	}
	for {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fault.Errorf(fault.ConsentNeeded, "oauth2", "nobody gave consent while this waited")
		}
		switch given, err := s.Consents.Given(ctx, o.UID); {
		case err != nil:
			return err
		case given.After(before):
			return nil
		}
	}
}

// callback is where the owner's browser comes back to. It tells no more than an owner may know.
func (s *Service) callback(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if s.Consents == nil {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	q := r.URL.Query()
	o, err := s.Consents.Finish(ctx, q.Get("state"), q.Get("code"))
	if err == nil {
		err = s.resume(ctx, o)
	}
	if err != nil {
		s.Log.Warn("a consent is not given", zap.String("account", o.Domain+"/"+o.Name), zap.Error(err))
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "The consent was not taken: %s.\n", fault.Proto(err).GetMessage())
		return
	}
	_, _ = fmt.Fprintln(w, "Thank you. Your mail is collected from now on; this page can be closed.")
}

// resume runs the account at once, whatever its back-off says.
func (s *Service) resume(ctx context.Context, o oauth.Owner) error {
	a, err := s.Directory.Account(ctx, o.Domain, o.Name)
	if err != nil || a.UID != o.UID || !a.Active {
		return err
	}
	err = s.Queue.Publish(ctx, manualJob(a, time.Now(), ""))
	if err != nil {
		s.Log.Info("the account waits for its next turn", zap.String("account", a.Ref()), zap.Error(err)) // coalesced, or the queue is away
	}
	return nil
}
