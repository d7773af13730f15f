package account

// validateNotify says what is wrong with whom notices go to.
func (a Account) validateNotify() error {
	if a.NotifyTo == "" {
		return nil
	}
	if !a.Notify {
		return invalid("notify_to", "goes with notify")
	}
	return ValidateAddress("notify_to", a.NotifyTo)
}
