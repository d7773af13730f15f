package control

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/proto/mailferry/v1/mailferryv1connect"
)

// callTime bounds a call that does not stream: what the rooms repeat while NATS or Redis is away has to end
// before the caller gives up.
const callTime = 20 * time.Second

// edge logs each call once and turns a panic into an error. It logs the procedure, the account and the
// outcome; a request is never logged, because it may hold a password.
type edge struct{ log *zap.Logger }

func (e edge) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, err error) {
		account := accountOf(req.Any())
		defer e.done(time.Now(), req.Spec(), &account, &err)
		arrived(ctx)
		limit := callTime
		if req.Spec().Procedure == mailferryv1connect.AccountServiceTestAccountProcedure {
			limit = testTime
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return next(ctx, req)
	}
}

func (e edge) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (e edge) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		s := &seen{StreamingHandlerConn: conn, ctx: ctx}
		defer e.done(time.Now(), conn.Spec(), &s.account, &err)
		return next(ctx, s)
	}
}

// done is deferred by every call, itself: it recovers.
func (e edge) done(start time.Time, spec connect.Spec, account *string, err *error) {
	if r := recover(); r != nil {
		// The value may quote a request: the stack says where, the type says what.
		e.log.Error("panic", zap.String("procedure", spec.Procedure), zap.String("type", fmt.Sprintf("%T", r)),
			zap.ByteString("stack", debug.Stack()))
		*err = refusal(connect.CodeInternal, fault.Internal, fault.Internal.Verdict().Advice, "%s stopped with a panic", spec.Procedure)
	}
	fields := []zap.Field{zap.String("procedure", spec.Procedure), zap.Duration("took", time.Since(start))}
	if *account != "" {
		fields = append(fields, zap.String("account", *account))
	}
	level := zapcore.DebugLevel
	if spec.IdempotencyLevel != connect.IdempotencyNoSideEffects {
		level = zapcore.InfoLevel
	}
	if *err != nil {
		code := connect.CodeOf(*err)
		fields = append(fields, zap.Stringer("code", code), zap.String("error", (*err).Error()))
		if f := faultOf(*err); f != nil {
			fields = append(fields, zap.Stringer("kind", fault.Kind(f.GetKind())))
		}
		if code == connect.CodeInternal || code == connect.CodeUnknown {
			level = zapcore.ErrorLevel
		}
	}
	e.log.Log(level, "call", fields...)
}

// faultOf returns the fault of an error of the API.
func faultOf(err error) *mailferryv1.Fault {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return nil
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if f, ok := v.(*mailferryv1.Fault); ok {
				return f
			}
		}
	}
	return nil
}

// accountOf names the account a request is about.
func accountOf(req any) string {
	if r, ok := req.(interface {
		GetRef() *mailferryv1.AccountRef
	}); ok && r.GetRef() != nil {
		return fault.Clean(r.GetRef().GetDomain() + "/" + r.GetRef().GetName())
	}
	if r, ok := req.(interface{ GetAccount() *mailferryv1.Account }); ok && r.GetAccount() != nil {
		return fault.Clean(r.GetAccount().GetDomain() + "/" + r.GetAccount().GetName())
	}
	return ""
}

// seen keeps what the one request of a stream is about.
type seen struct {
	connect.StreamingHandlerConn
	ctx     context.Context //nolint:containedctx // lives as long as the stream it belongs to
	account string
}

func (s *seen) Receive(m any) error {
	err := s.StreamingHandlerConn.Receive(m)
	if err == nil {
		s.account = accountOf(m)
		arrived(s.ctx)
	}
	return err
}

// arrived lifts the deadline for the arrival of the request.
func arrived(ctx context.Context) {
	if f, ok := ctx.Value(arrivedKey{}).(func()); ok {
		f()
	}
}
