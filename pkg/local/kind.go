package local

import (
	"fmt"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Kind says what kind of fault the answer is, None if the recipient was accepted. A full mailbox is
// told apart by its enhanced status code (RFC 3463 §3.3: X.2.2), and by 452 or 552 where there is none:
// a destination that is full as a whole (4.3.1), that wants fewer recipients (4.5.3) or smaller messages
// (5.3.4) says nothing about the mailbox.
func (r Reply) Kind() fault.Kind {
	status := enhanced(r.Text)
	switch {
	case r.Accepted():
		return fault.None
	case status == "4.2.2" || status == "5.2.2":
		return fault.DestinationQuota
	case status == "" && (r.Code == 452 || r.Code == 552):
		return fault.DestinationQuota
	case r.Code/100 == 5:
		return fault.DestinationRejected
	}
	return fault.DestinationTemporary
}

// Fault returns the answer as an error of its [Reply.Kind], or nil if the recipient was accepted.
func (r Reply) Fault() error {
	if r.Accepted() {
		return nil
	}
	text := r.Text
	if text != "" {
		text = " " + text
	}
	if r.Recipient != "" {
		text += " for " + fault.Clean(r.Recipient)
	}
	return fault.New(r.Kind(), "deliver", fmt.Errorf("the destination answered %d%s", r.Code, text))
}

// enhanced returns the enhanced status code that text begins with (RFC 2034 §4), or "".
func enhanced(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if len(word) < 5 || len(word) > 9 || word[1] != '.' || strings.Count(word, ".") != 2 {
		return ""
	}
	if word[len(word)-1] == '.' || strings.Contains(word, "..") || strings.Trim(word, "0123456789.") != "" {
		return ""
	}
	return word
}
