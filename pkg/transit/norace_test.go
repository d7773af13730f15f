//go:build !race

package transit

const raceFactor = 1
