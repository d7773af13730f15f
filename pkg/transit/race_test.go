//go:build race

package transit

// raceFactor is what the race detector adds to memory.
const raceFactor = 5
