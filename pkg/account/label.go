package account

import (
	"slices"
	"strings"
)

// Bounds of labels.
const (
	maxLabels = 16
	maxLabel  = 63 // bytes of one
)

// HasLabel says whether the account carries a label; any account has "".
func (a Account) HasLabel(label string) bool { return label == "" || slices.Contains(a.Labels, label) }

// normalLabels returns labels sorted, each once.
func normalLabels(labels []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(labels)))
}

// ValidateLabel says whether s can be a label.
func ValidateLabel(field, s string) error {
	if s == "" || len(s) > maxLabel || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return invalid(field, "want 1 to %d of a-z 0-9 - . _ as a label", maxLabel)
	}
	return nil
}

func (a Account) validateLabels() error {
	if len(a.Labels) > maxLabels {
		return invalid("labels", "want at most %d", maxLabels)
	}
	for _, l := range a.Labels {
		if err := ValidateLabel("labels", l); err != nil {
			return err
		}
	}
	return nil
}
