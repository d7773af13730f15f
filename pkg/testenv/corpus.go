package testenv

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Seed is one message of a corpus. Subject names it; Raw has CRLF line ends.
type Seed struct {
	ID  string
	Raw []byte
}

// CorpusConfig says what a corpus holds.
type CorpusConfig struct {
	// Name keeps the messages of several corpora apart, and is the seed of what they hold.
	Name string
	// Messages is how many.
	Messages int
	// Large, where not 0, is the size of one of them in octets.
	Large int
}

// Corpus makes mail as it lies in people's mailboxes: short notes, newsletters with an HTML part, 8-bit
// text, attachments, lines that begin with dots, and one large message. The same configuration makes the
// same bytes.
func Corpus(c CorpusConfig) []Seed {
	var key [32]byte
	copy(key[:], c.Name)
	r := rand.New(rand.NewChaCha8(key))
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	out := make([]Seed, c.Messages)
	for i := range out {
		at = at.Add(time.Duration(r.IntN(7200)) * time.Second)
		m := &mail{r: r, id: fmt.Sprintf("%s-%04d", c.Name, i), at: at}
		switch {
		case c.Large > 0 && i == c.Messages/2:
			m.attachment(c.Large)
		case i%11 == 3:
			m.attachment(10_000 + r.IntN(200_000))
		case i%7 == 2:
			m.newsletter()
		case i%5 == 1:
			m.eightBit()
		case i%13 == 5:
			m.dots()
		case i%29 == 7:
			m.head("text/plain; charset=us-ascii", "7bit") // an empty body
		default:
			m.note()
		}
		out[i] = Seed{ID: m.id, Raw: m.b.Bytes()}
	}
	return out
}

type mail struct {
	b  bytes.Buffer
	r  *rand.Rand
	id string
	at time.Time
}

var (
	people = []string{"Ada Byron <ada@analytical.example>", "\"Grace Hopper\" <grace@navy.example>",
		"=?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <juergen@werk.example>", "billing@shop.example", "no-reply@news.example"}
	topics = []string{"Invoice 2026-%04d", "Re: dinner on Friday (%d)", "=?utf-8?b?WsO8cmljaCDigJMgUGxhbg==?= %d",
		"Your parcel %d is on its way", "[list] patch %d/7: fix the fencepost", "Minutes of meeting %d"}
	words = strings.Fields(`the quick brown fox jumps over lazy dogs while a careful clerk counts every letter of the post twice
		before it leaves the house and once more when it comes home because nothing may be lost`)
)

func (m *mail) head(contentType, encoding string) {
	from := people[m.r.IntN(len(people))]
	fmt.Fprintf(&m.b, "Return-Path: <bounce-%d@sender.example>\r\n", m.r.IntN(10_000))
	fmt.Fprintf(&m.b, "Received: from mx.sender.example (mx.sender.example [192.0.2.%d])\r\n\tby mail.provider.example with ESMTPS id %08x;\r\n\t%s\r\n",
		m.r.IntN(255), m.r.Uint32(), m.at.Format(time.RFC1123Z))
	fmt.Fprintf(&m.b, "From: %s\r\nTo: alice@provider.example\r\nSubject: "+topics[m.r.IntN(len(topics))]+"\r\n", from, m.r.IntN(9999))
	fmt.Fprintf(&m.b, "Date: %s\r\nMessage-ID: <%s@sender.example>\r\nX-Seed-Id: %s\r\n", m.at.Format(time.RFC1123Z), m.id, m.id)
	fmt.Fprintf(&m.b, "MIME-Version: 1.0\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", contentType, encoding)
}

func (m *mail) prose(lines int) {
	for range lines {
		for range 6 + m.r.IntN(8) {
			m.b.WriteString(words[m.r.IntN(len(words))])
			m.b.WriteByte(' ')
		}
		m.b.WriteString("\r\n")
	}
}

func (m *mail) note() {
	m.head("text/plain; charset=us-ascii", "7bit")
	m.prose(3 + m.r.IntN(40))
	m.b.WriteString("-- \r\nsent from a desk\r\n")
}

func (m *mail) eightBit() {
	m.head("text/plain; charset=utf-8", "8bit")
	m.prose(2)
	m.b.WriteString("Grüße aus Zürich, смета на ремонт, 日本語の本文, naïve café — 100 % €\r\n")
	if m.r.IntN(2) == 0 {
		m.b.WriteString("latin-1: \xe4\xf6\xfc\xdf \xe9\xe8\r\n")
	}
	m.prose(2)
}

func (m *mail) dots() {
	m.head("text/plain; charset=us-ascii", "7bit")
	m.b.WriteString(".\r\n..\r\n.hidden\r\n...and so on\r\n")
	m.prose(1)
	m.b.WriteString("a line that is long: " + strings.Repeat("x", 900) + "\r\n.\r\n")
}

func (m *mail) newsletter() {
	m.head("multipart/alternative; boundary=\"=_alt\"", "8bit")
	m.b.WriteString("--=_alt\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	m.prose(10)
	m.b.WriteString("--=_alt\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n")
	for range 30 + m.r.IntN(100) {
		m.b.WriteString("<p style=\"margin:0\">")
		m.prose(1)
		m.b.WriteString("</p>\r\n")
	}
	m.b.WriteString("</body></html>\r\n--=_alt--\r\n")
}

func (m *mail) attachment(size int) {
	m.head("multipart/mixed; boundary=\"=_mix\"", "7bit")
	m.b.WriteString("--=_mix\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n--=_mix\r\n" +
		"Content-Type: application/pdf; name=\"scan.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	raw := make([]byte, 57)
	line := make([]byte, 78)
	line[76], line[77] = '\r', '\n'
	for n := 0; n < size; n += len(line) {
		for i := range raw {
			raw[i] = byte(m.r.Uint32())
		}
		base64.StdEncoding.Encode(line, raw)
		m.b.Write(line)
	}
	m.b.WriteString("--=_mix--\r\n")
}
