package maildir

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// template is a parsed path: root exists, names may be made below it.
type template struct {
	root  string
	names []string // with variables
}

// parseTemplate checks a path and splits it before the first name that is made as needed.
func parseTemplate(path string) (template, error) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return template{}, errors.New("want an absolute path like /var/mail/%d/%n")
	}
	names := strings.Split(strings.Trim(path, "/"), "/")
	fixed := len(names) - 1
	for i, name := range names {
		if name == "" || name == "." || name == ".." {
			return template{}, fmt.Errorf("the path must not contain %q as a name", name)
		}
		variable, err := scan(name)
		if err != nil {
			return template{}, err
		}
		if variable {
			fixed = min(fixed, i)
		}
	}
	root := "/" + strings.ReplaceAll(strings.Join(names[:fixed], "/"), "%%", "%")
	return template{root: root, names: names[fixed:]}, nil
}

// scan says whether a name of a path contains a variable, and refuses unknown ones.
func scan(name string) (bool, error) {
	variable := false
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			continue
		}
		i++
		switch {
		case i < len(name) && strings.IndexByte("dnu", name[i]) >= 0:
			variable = true
		case i < len(name) && name[i] == '%':
		default:
			return false, errors.New("a path knows %d (domain), %n (local part), %u (address) and %% only")
		}
	}
	return variable, nil
}

// expand returns the Maildir of a recipient, and the folder above it that must be there.
func (t template) expand(to string) (root, dir string, err error) {
	to = lower(to)
	at := strings.LastIndexByte(to, '@')
	if at < 0 {
		return "", "", errors.New("the address has no domain")
	}
	for _, s := range []string{to, to[:at], to[at+1:]} {
		if !safe(s) {
			return "", "", errors.New("the address cannot name a mailbox")
		}
	}
	r := strings.NewReplacer("%d", to[at+1:], "%n", to[:at], "%u", to, "%%", "%")
	dir = t.root
	for _, name := range t.names {
		name = r.Replace(name)
		if len(name) > 255 {
			return "", "", errors.New("the address is too long to name a mailbox")
		}
		dir = filepath.Join(dir, name)
	}
	return t.root, dir, nil
}

// lower makes the letters A to Z small and nothing else: what lies beyond ASCII may have several forms, of
// which one belongs to somebody else (U+212A is a k).
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// safe says whether s can be put into the name of a folder: it stays one name, and not a hidden one.
func safe(s string) bool {
	return s != "" && s[0] != '.' && !strings.Contains(s, "..") && utf8.ValidString(s) &&
		strings.IndexFunc(s, func(r rune) bool {
			return r == '/' || r == filepath.Separator || unicode.IsControl(r) || unicode.IsSpace(r) || !unicode.IsGraphic(r)
		}) < 0
}
