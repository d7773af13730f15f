package directory

// Notify says whom notices of accounts go to besides their owners; the zero value: nobody.
type Notify struct {
	// WebhookURL they are posted to, signed with the secret, which the vault has sealed for [Notify.SealContext].
	WebhookURL          string
	SealedWebhookSecret string // bytes
	// NotifyAdmin is the address of an administrator who gets a mail.
	NotifyAdmin string
}

// Anybody says whether they go to anybody.
func (n Notify) Anybody() bool { return n.WebhookURL != "" || n.NotifyAdmin != "" }

// SealContext is the associated data of the secret of a domain's webhook, or, with "", of the settings' one.
func (Notify) SealContext(domain string) string { return "webhook:" + domain }
