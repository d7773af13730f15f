package control

import (
	"strings"

	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/route"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// maxLogin bounds a user name and a password of a destination, in bytes.
const maxLogin = 8192

// maxProxyLogin bounds those of a proxy (RFC 1929 §2).
const maxProxyLogin = 255

// loginEdit is a change of how a destination is signed in to.
type loginEdit struct {
	field  string // "destination", "mailbox_destination" or "egress_proxy"
	domain string // "" for the settings
	// what is there, and at which destination
	there   directory.Login
	thereAt string
	// what is wanted; a nil password is none given
	at, username string
	password     *string
}

// login returns what is stored. A password goes to the destination it was given for and nowhere else: another
// destination drops it, and a password that is given is sealed for its own.
func (s *Service) login(e loginEdit) (directory.Login, error) {
	name := strings.TrimSpace(e.username)
	switch {
	case name == "" && e.password != nil && *e.password != "":
		return directory.Login{}, errField(e.field+"_username", "a password is given for nobody")
	case name == "":
		return directory.Login{}, nil
	case e.password == nil && e.at != e.thereAt && name == e.there.Username:
		return directory.Login{}, nil
	case e.password == nil && name != e.there.Username, e.password != nil && *e.password == "":
		return directory.Login{}, errField(e.field+"_password", "want the password of %s", name)
	case e.password == nil:
		return e.there, nil
	case len(name) > maxLogin || len(*e.password) > maxLogin || strings.ContainsAny(name+*e.password, "\x00\r\n"):
		return directory.Login{}, errField(e.field+"_username", "user name and password are at most %d bytes, without NUL and line ends", maxLogin)
	}
	if kind, _, _ := strings.Cut(e.at, ":"); kind == "" || kind == string(route.Maildir) {
		return directory.Login{}, errField(e.field+"_username", "nobody signs in there: a user name needs a destination of its own that is a server")
	}
	sealed, err := s.Vault.Seal(*e.password, directory.LoginContext(e.domain, e.at))
	return directory.Login{Username: name, Sealed: string(sealed)}, asError(e.field, err)
}

// domainLogins sets the logins of d, which replaces there.
func (s *Service) domainLogins(d *directory.Domain, there directory.Domain, req *mailferryv1.PutDomainRequest) error {
	var err error
	d.Login, err = s.login(loginEdit{
		field: "destination", domain: d.Name, there: there.Login, thereAt: there.Destination,
		at: d.Destination, username: req.GetDomain().GetDestinationUsername(), password: req.DestinationPassword,
	})
	if err != nil {
		return err
	}
	d.MailboxLogin, err = s.login(loginEdit{
		field: "mailbox_destination", domain: d.Name, there: there.MailboxLogin, thereAt: there.MailboxDestination,
		at: d.MailboxDestination, username: req.GetDomain().GetMailboxDestinationUsername(), password: req.MailboxDestinationPassword,
	})
	if err != nil {
		return err
	}
	if name := req.GetDomain().GetEgressProxyUsername(); len(name) > maxProxyLogin || len(req.GetEgressProxyPassword()) > maxProxyLogin {
		return errField("egress_proxy_username", "user name and password are at most %d bytes", maxProxyLogin)
	}
	d.ProxyLogin, err = s.login(loginEdit{
		field: "egress_proxy", domain: d.Name, there: there.ProxyLogin, thereAt: there.EgressProxy,
		at: d.EgressProxy, username: req.GetDomain().GetEgressProxyUsername(), password: req.EgressProxyPassword,
	})
	return err
}

// settingsLogins sets the logins of set, which replace those of there.
func (s *Service) settingsLogins(set *directory.Settings, there directory.Settings, req *mailferryv1.PutSettingsRequest) error {
	name, mailboxName := there.Login.Username, there.MailboxLogin.Username
	if req.DestinationUsername != nil {
		name = req.GetDestinationUsername()
	}
	if req.MailboxDestinationUsername != nil {
		mailboxName = req.GetMailboxDestinationUsername()
	}
	var err error
	set.Login, err = s.login(loginEdit{
		field: "destination", there: there.Login, thereAt: there.Destination,
		at: set.Destination, username: name, password: req.DestinationPassword,
	})
	if err != nil {
		return err
	}
	set.MailboxLogin, err = s.login(loginEdit{
		field: "mailbox_destination", there: there.MailboxLogin, thereAt: there.MailboxDestination,
		at: set.MailboxDestination, username: mailboxName, password: req.MailboxDestinationPassword,
	})
	return err
}
