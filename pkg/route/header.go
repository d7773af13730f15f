package route

import (
	"bytes"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
)

// Bounds of what is read of a message: octets of its header block, and of one Return-Path with its folds.
const (
	maxHeader     = 64 << 10
	maxReturnPath = 1000
)

// maxPath is the longest reverse-path that is passed on (RFC 5321 §4.5.3.1.3, less its brackets).
const maxPath = 254

// ReturnPath returns the address of the first Return-Path in the header block that data begins with; ""
// if there is none, if it is the null one, or if it is not an address that can stand in an envelope. Lines
// may end with CRLF or LF. What is no header field ends the block, but for an mbox line at its start.
func ReturnPath(data []byte) string {
	for name, value := range eachField(data) {
		if bytes.EqualFold(name, []byte("Return-Path")) {
			return parsePath(value)
		}
	}
	return ""
}

// cutField splits data behind its first line and the lines folded into it (RFC 5322 §2.2.3). A line
// cut off by the end of data is left out.
func cutField(data []byte) (field, rest []byte) {
	for end := 0; ; {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			return nil, nil
		}
		end += n + 1
		if end == len(data) || data[end] != ' ' && data[end] != '\t' {
			return data[:end], data[end:]
		}
	}
}

// isFieldName says whether b is the name of a header field (RFC 5322 §2.2).
func isFieldName(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}

// parsePath returns the address between the angle brackets of a Return-Path, which some servers leave
// out. Source routes, quoted local parts and address literals are not passed on.
func parsePath(value []byte) string {
	if len(value) > maxReturnPath {
		return ""
	}
	s := strings.Trim(string(value), " \t\r\n")
	if strings.HasPrefix(s, "<") {
		if !strings.HasSuffix(s, ">") {
			return ""
		}
		s = strings.Trim(s[1:len(s)-1], " \t")
	}
	if len(s) > maxPath || account.ValidateAddress("return-path", s) != nil || !validText(s) {
		return ""
	}
	return s
}
