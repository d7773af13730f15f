package cli

// DestinationLogin says how the destinations are signed in to.
type DestinationLogin struct {
	DestinationPasswordFile         string `name:"destination-password-file" placeholder:"FILE" xor:"destination-password" group:"password" help:"Read the password of the destination from the first line of a file."`
	DestinationPasswordStdin        bool   `name:"destination-password-stdin" xor:"destination-password,stdin" group:"password" help:"Read it from the first line of standard input."`
	MailboxDestinationPasswordFile  string `name:"mailbox-destination-password-file" placeholder:"FILE" xor:"mailbox-destination-password" group:"password" help:"Read the password of the mailbox destination from the first line of a file."`
	MailboxDestinationPasswordStdin bool   `name:"mailbox-destination-password-stdin" xor:"mailbox-destination-password,stdin" group:"password" help:"Read it from the first line of standard input."`
}

func (l *DestinationLogin) given() bool { return *l != DestinationLogin{} }

// read sets the passwords whose source is given.
func (l *DestinationLogin) read(env *Env, password, mailboxPassword **string) error {
	for _, one := range []struct {
		from Password
		to   **string
	}{
		{Password{l.DestinationPasswordFile, l.DestinationPasswordStdin}, password},
		{Password{l.MailboxDestinationPasswordFile, l.MailboxDestinationPasswordStdin}, mailboxPassword},
	} {
		if !one.from.given() {
			continue
		}
		s, err := one.from.read(env, "")
		if err != nil {
			return err
		}
		*one.to = &s
	}
	return nil
}

// ProxyLogin says how the proxy of a domain is signed in to.
type ProxyLogin struct {
	EgressProxyPasswordFile  string `name:"egress-proxy-password-file" placeholder:"FILE" xor:"egress-proxy-password" group:"password" help:"Read the password of the proxy from the first line of a file."`
	EgressProxyPasswordStdin bool   `name:"egress-proxy-password-stdin" xor:"egress-proxy-password,stdin" group:"password" help:"Read it from the first line of standard input."`
}

func (l *ProxyLogin) given() bool { return *l != ProxyLogin{} }

// read sets the password if its source is given.
func (l *ProxyLogin) read(env *Env, password **string) error {
	from := Password{l.EgressProxyPasswordFile, l.EgressProxyPasswordStdin}
	if !from.given() {
		return nil
	}
	s, err := from.read(env, "")
	*password = &s
	return err
}

// dropped tells people that a password does not follow a destination that is pointed elsewhere.
func dropped(before, after string) string {
	if before == "" || after != "" {
		return ""
	}
	return "; nobody signs in at its destination any more: the password of " + before + " is dropped"
}
