package account

import (
	"fmt"
	"strconv"
	"strings"
)

// maxOctets bounds what a size may be: JSON keeps whole numbers up to there.
const maxOctets = 1 << 53

// ParseOctets reads a size like 500000, 64kB, 10MB, 2GB or 1TB, with units of a thousand and its powers.
func ParseOctets(text string) (int64, error) {
	s := strings.ToUpper(strings.TrimSpace(text))
	factor := int64(1)
	for unit, f := range map[string]int64{"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			s, factor = strings.TrimSpace(n), f
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxOctets/factor {
		return 0, fmt.Errorf("%q is not a size like 500000, 64kB or 10MB", text)
	}
	return n * factor, nil
}
