package control

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/transit"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// exportPiece is how much of a message goes out at once, in octets.
const exportPiece = 256 << 10

// ExportDead answers the message of a dead letter as it was received, piece by piece; it is never held whole. A body
// that turns out not to be whole ends in an error, so that what was written before is not taken for it.
func (s *Service) ExportDead(ctx context.Context, req *mailferryv1.ExportDeadRequest, stream *connect.ServerStream[mailferryv1.ExportDeadResponse]) error {
	e, err := s.letter(ctx, req.GetId())
	if err != nil {
		return err
	}
	what, m := "dead letter "+fault.Clean(req.GetId()), e.GetLetter().GetMessage()
	if m.GetContent() == nil {
		return refusal(connect.CodeFailedPrecondition, fault.Policy, "see 'mailferry dead show "+e.GetId()+"'", "%s has no message", what)
	}
	body, err := s.Transit.OpenBody(ctx, m)
	if errors.Is(err, transit.ErrBodyGone) {
		return refusal(connect.CodeNotFound, fault.NotFound, "'mailferry dead retry "+e.GetId()+"' fetches it again", "%s: its body is gone", what)
	}
	if err != nil {
		return asError(what, err)
	}
	defer func() { _ = body.Close() }()
	for piece := make([]byte, exportPiece); ; {
		n, err := io.ReadFull(body, piece)
		if n > 0 {
			if err := stream.Send(&mailferryv1.ExportDeadResponse{Piece: piece[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return asError(what, err)
		}
	}
}
