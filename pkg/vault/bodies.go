package vault

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"io"
	"sync"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mailferry/mailferry/pkg/fault"
)

// What sealing adds to a body in memory: NonceRoom octets before it, TagRoom behind it.
const (
	NonceRoom = chacha20poly1305.NonceSizeX
	TagRoom   = chacha20poly1305.Overhead
)

const (
	bodyKeyLen     = 64 // half for bodies in memory, half for streams
	bodyKeyContext = "key of bodies"
	// maxKnown bounds the keys of other processes that are kept open.
	maxKnown = 1024
	// segment is what a stream seals at once; streamHead and segmentTag are what that adds.
	segment    = 16 << 10
	streamHead = 1 + 32 + subtle.AESGCMHKDFNoncePrefixSizeInBytes
	segmentTag = subtle.AESGCMHKDFTagSizeInBytes
)

// Bodies seals the bodies of messages where they rest. Each has a key of its own, which travels sealed by the vault
// with every body, so that any process with the key file opens what another has sealed, and the keyset itself seals
// little. A body is bound to its context and opens under no other. It is safe for concurrent use.
type Bodies struct {
	vault  *Vault
	own    *bodyKey
	sealed []byte

	mu    sync.Mutex
	known map[string]*bodyKey
}

// bodyKey is a key ready for use: XChaCha20-Poly1305 for what is in memory, whose random nonces never run out, and
// AES-256-GCM in segments under a derived key for streams.
type bodyKey struct {
	memory cipher.AEAD
	stream *subtle.AESGCMHKDF
}

func newBodyKey(secret []byte) (*bodyKey, error) {
	if len(secret) != bodyKeyLen {
		return nil, fault.Errorf(fault.Internal, "unseal body", "its key has %d octets", len(secret))
	}
	memory, err := chacha20poly1305.NewX(secret[:bodyKeyLen/2])
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "seal body", "cannot use the key")
	}
	stream, err := subtle.NewAESGCMHKDF(secret[bodyKeyLen/2:], "SHA256", 32, segment, 0)
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "seal body", "cannot use the key")
	}
	return &bodyKey{memory, stream}, nil
}

// Bodies returns a sealer with a fresh key.
func (v *Vault) Bodies() (*Bodies, error) {
	secret := make([]byte, bodyKeyLen)
	_, _ = rand.Read(secret)
	own, err := newBodyKey(secret)
	if err != nil {
		return nil, err
	}
	sealed, err := v.Seal(string(secret), bodyKeyContext)
	if err != nil {
		return nil, err
	}
	return &Bodies{vault: v, own: own, sealed: sealed, known: map[string]*bodyKey{string(sealed): own}}, nil
}

// Key is what Open and OpenStream need beside the body: the key it was sealed under, itself sealed.
// It must not be changed.
func (b *Bodies) Key() []byte { return b.sealed }

// Seal seals buf[NonceRoom:] in place and fills the octets before it; the result is TagRoom longer than buf.
func (b *Bodies) Seal(buf []byte, context string) []byte {
	nonce := buf[:NonceRoom]
	_, _ = rand.Read(nonce)
	return b.own.memory.Seal(nonce, nonce, buf[NonceRoom:], []byte(context))
}

// Open returns what Seal sealed, in memory of its own. What cannot be opened is a fault of kind internal: [ErrAltered]
// where the body or its context is not the one that was sealed, another where the key file is not.
func (b *Bodies) Open(sealed, key []byte, context string) ([]byte, error) {
	k, err := b.key(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < NonceRoom+TagRoom {
		return nil, altered()
	}
	plain, err := k.memory.Open(make([]byte, 0, len(sealed)-NonceRoom-TagRoom), sealed[:NonceRoom], sealed[NonceRoom:], []byte(context))
	if err != nil {
		return nil, altered()
	}
	return plain, nil
}

// ErrAltered says that a body is not the one that was sealed, though its key is at hand.
var ErrAltered = errors.New("the body is not the one that was sealed")

func altered() error { return fault.New(fault.Internal, "unseal body", ErrAltered) }

// key opens the key that came with a body.
func (b *Bodies) key(sealed []byte) (*bodyKey, error) {
	b.mu.Lock()
	k := b.known[string(sealed)]
	b.mu.Unlock()
	if k != nil {
		return k, nil
	}
	secret, err := b.vault.Unseal(sealed, bodyKeyContext)
	if err != nil {
		return nil, err
	}
	if k, err = newBodyKey([]byte(secret)); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= maxKnown {
		clear(b.known)
	}
	b.known[string(sealed)] = k
	return k, nil
}

// StreamSize is how many octets SealStream makes of a body of that size.
func StreamSize(plain int64) int64 {
	segments := max(1, (plain+streamHead+segment-segmentTag-1)/(segment-segmentTag))
	return streamHead + plain + segments*segmentTag
}

// SealStream returns the sealed octets of r, whose errors it passes on as they are. It holds one segment of 16 KiB.
func (b *Bodies) SealStream(r io.Reader, context string) (io.Reader, error) {
	s := &sealing{r: r, in: make([]byte, segment)}
	var err error
	if s.w, err = b.own.stream.NewEncryptingWriter(&s.out, []byte(context)); err != nil {
		return nil, fault.Errorf(fault.Internal, "seal body", "cannot encrypt")
	}
	return s, nil
}

// sealing turns the writer of a stream into a reader.
type sealing struct {
	r   io.Reader
	w   io.WriteCloser
	in  []byte
	out bytes.Buffer
	err error
}

func (s *sealing) Read(p []byte) (int, error) {
	if s.out.Len() == 0 && s.err == nil {
		s.err = s.more()
	}
	if s.out.Len() > 0 {
		return s.out.Read(p)
	}
	return 0, s.err
}

// more seals what one read brings.
func (s *sealing) more() error {
	n, err := s.r.Read(s.in)
	_, werr := s.w.Write(s.in[:n])
	if err == io.EOF && werr == nil { //nolint:errorlint // a wrapped EOF is an error of the source
		werr = s.w.Close()
	}
	if werr != nil {
		return fault.Errorf(fault.Internal, "seal body", "cannot encrypt")
	}
	return err
}

// OpenStream returns what SealStream sealed. Errors of r are passed on; octets that are not the sealed ones, or end
// early, are [ErrAltered] in place of io.EOF.
func (b *Bodies) OpenStream(r io.Reader, key []byte, context string) (io.Reader, error) {
	k, err := b.key(key)
	if err != nil {
		return nil, err
	}
	src := &source{r: r}
	plain, err := k.stream.NewDecryptingReader(src, []byte(context))
	if err != nil {
		return nil, src.blame()
	}
	return &opening{plain, src}, nil
}

// source remembers why a reader failed.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is an error of the source
		s.err = err
	}
	return n, err
}

func (s *source) blame() error {
	if s.err != nil {
		return s.err
	}
	return altered()
}

type opening struct {
	plain io.Reader
	src   *source
}

func (o *opening) Read(p []byte) (int, error) {
	n, err := o.plain.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF is the end of a whole stream, and comes bare
		err = o.src.blame()
	}
	return n, err
}
