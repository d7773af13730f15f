package notice

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Mail returns a notice as a message to an address.
func Mail(n *mailferryv1.Notice, to string) []byte {
	var b bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	typ := TypeOf(n)
	ref := n.GetDomain() + "/" + n.GetName()
	subject, text := words(n, typ, ref)
	field("From", "Mail collector <"+to+">")
	field("To", "<"+to+">")
	field("Subject", strings.ReplaceAll(mime.QEncoding.Encode("utf-8", subject), "?= =?", "?=\r\n =?")) // one encoded word a line
	field("Date", n.GetAt().AsTime().Format(time.RFC1123Z))
	field("Message-ID", "<"+n.GetId()+"@notice.mailferry.invalid>")
	field("X-Mailferry-Notice", string(typ)+"; id="+n.GetId())
	field("Auto-Submitted", "auto-generated") // RFC 3834 §5
	field("MIME-Version", "1.0")
	field("Content-Type", "text/plain; charset=utf-8")
	field("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	_ = w.Close()
	return b.Bytes()
}

// words returns what a notice says.
func words(n *mailferryv1.Notice, typ Type, ref string) (subject, text string) {
	since := n.GetSince().AsTime().UTC().Format("2006-01-02 15:04 MST")
	f := n.GetFault()
	why := fmt.Sprintf("\nWhat happened: %s\n", f.GetMessage())
	if f.GetAdvice() != "" {
		why += fmt.Sprintf("What to do: %s.\n", f.GetAdvice())
	}
	again := "\nThere will be another notice when it works again, and none before.\n"
	switch typ {
	case Failing:
		return "Mail of " + ref + " is not being collected",
			fmt.Sprintf("Mail of the account %s has not been collected since %s: %d attempts in a row failed (%s).\nNothing is lost: what comes stays at the remote server.\n%s%s",
				ref, since, n.GetFailures(), fault.Kind(f.GetKind()), why, again)
	case ConsentNeeded:
		return "Mail of " + ref + " needs your consent", fmt.Sprintf("The provider of the account %s wants its owner to give consent again; until then no mail is collected.\n%s%s", ref, why, again)
	case OverQuota:
		return "A mailbox of " + ref + " is over its limit", fmt.Sprintf("Mail of the account %s is not collected for now: a mailbox is over a limit (%s).\n%s%s", ref, fault.Kind(f.GetKind()), why, again)
	case OversizeSkipped:
		return "Messages of " + ref + " are too large", fmt.Sprintf("%d messages of the account %s were not collected, since they are larger than its limit. They are still at the remote server, "+
			"and are not deleted there.\nMore of them are told of after a day at the earliest; the run reports name each.\n", n.GetSkipped(), ref)
	default:
		return "Mail of " + ref + " is being collected again", fmt.Sprintf("Mail of the account %s is collected again. Since %s it was not.\n", ref, since)
	}
}
