package route

import "strings"

// matches says whether s fits a pattern, in which * stands for any run of characters. Case does not matter.
func matches(pattern, s string) bool {
	parts := strings.Split(strings.ToLower(pattern), "*")
	s = strings.ToLower(s)
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok || len(parts) == 1 {
		return ok && s == ""
	}
	last := len(parts) - 1
	for _, p := range parts[1:last] {
		_, after, found := strings.Cut(s, p)
		if !found {
			return false
		}
		s = after
	}
	return strings.HasSuffix(s, parts[last])
}

func matchesAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if matches(p, s) {
			return true
		}
	}
	return false
}

// rewrite returns what becomes of s by a pattern with at most one *, which the one in to repeats.
func rewrite(pattern, to, s string) (string, bool) {
	head, tail, star := strings.Cut(pattern, "*")
	n := len(head) + len(tail)
	switch {
	case !star:
		return to, strings.EqualFold(pattern, s)
	case len(s) < n, !strings.EqualFold(s[:len(head)], head), !strings.EqualFold(s[len(s)-len(tail):], tail):
		return "", false
	}
	return strings.Replace(to, "*", s[len(head):len(s)-len(tail)], 1), true
}
