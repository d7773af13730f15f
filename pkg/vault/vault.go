// Package vault seals credentials and holds the installation's secrets.
//
// A vault is one key file: a Tink AEAD keyset (AES-256-GCM) and the installation key, the secret of the
// hash that message keys go through. Each sealed value is bound to a context, so that it cannot be
// moved to another record; its first bytes name the key that sealed it, so that a keyset may be
// rotated: add a key everywhere first, then make it primary. Losing the file makes every stored
// password and every UID index unreadable: it belongs in the backup.
package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Vault seals and unseals. It is safe for concurrent use.
type Vault struct {
	aead   tink.AEAD
	secret []byte
}

// file is the key file's form.
type file struct {
	Keyset json.RawMessage `json:"keyset"`
	// InstallationKey is base64, 32 bytes.
	InstallationKey string `json:"installation_key"`
}

const secretLen = 32

// Parse reads a vault from the content of a key file.
func Parse(content []byte) (*Vault, error) {
	var f file
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, bad("it is not JSON")
	}
	secret, err := base64.StdEncoding.DecodeString(f.InstallationKey)
	if err != nil || len(secret) != secretLen {
		return nil, bad("installation_key is not 32 bytes in base64")
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(f.Keyset)))
	if err != nil {
		return nil, bad("keyset cannot be read")
	}
	a, err := aead.New(handle)
	if err != nil {
		return nil, bad("keyset is not an AEAD keyset")
	}
	return &Vault{aead: a, secret: secret}, nil
}

// bad keeps the cause out of the error: it could quote key material.
func bad(why string) error { return fault.Errorf(fault.Internal, "vault key file", "%s", why) }

// Open reads the key file at path.
func Open(path string) (*Vault, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.New(fault.Internal, "vault key file", err)
	}
	return Parse(content)
}

// OpenOrCreate reads the key file at path and makes it, with mode 0600, where there is none. Of several
// processes that start at once one makes it.
func OpenOrCreate(path string) (*Vault, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		content, err := Generate()
		if err != nil {
			return nil, err
		}
		if err := writeNew(path, content); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fault.New(fault.Internal, "vault key file", err)
		}
	}
	return Open(path)
}

// Generate makes the content of a new key file.
func Generate() ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fault.New(fault.Internal, "vault", err)
	}
	var ks bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&ks)); err != nil {
		return nil, fault.New(fault.Internal, "vault", err)
	}
	secret := make([]byte, secretLen)
	_, _ = rand.Read(secret)
	return json.MarshalIndent(file{Keyset: ks.Bytes(), InstallationKey: base64.StdEncoding.EncodeToString(secret)}, "", "  ")
}

// writeNew writes the whole file under another name and links it into place, so that nobody ever reads
// half of it and nobody's is overwritten.
func writeNew(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".vault-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}

// Seal encrypts plain, bound to context.
func (v *Vault) Seal(plain, context string) ([]byte, error) {
	sealed, err := v.aead.Encrypt([]byte(plain), []byte(context))
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "seal", "cannot encrypt")
	}
	return sealed, nil
}

// Unseal decrypts what Seal made for the same context. A value of another context, another keyset or
// a damaged one is a fault of kind internal: it is never taken for an empty credential.
func (v *Vault) Unseal(sealed []byte, context string) (string, error) {
	plain, err := v.aead.Decrypt(sealed, []byte(context))
	if err != nil {
		return "", fault.New(fault.Internal, "unseal", fmt.Errorf("the vault key file does not open it: is it the one it was sealed with?"))
	}
	return string(plain), nil
}

// KeySecret returns the installation key: the secret of the message-key hash.
func (v *Vault) KeySecret() []byte { return bytes.Clone(v.secret) }
