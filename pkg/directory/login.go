package directory

import "fmt"

// Login is how a destination is signed in to; the zero one is not at all.
type Login struct {
	Username string
	// Sealed is the password, sealed under the [LoginContext] of its domain and destination.
	Sealed string
}

// LoginContext is the associated data that the password of a destination is sealed with: one that is moved to another
// domain, or whose destination is pointed elsewhere, does not open. domain is "" for that of the settings.
func LoginContext(domain, destination string) string {
	return fmt.Sprintf("destination:%q:%q", domain, destination)
}
