//go:build race

package ledger

// modelSteps is how long the model plays: under the race detector, which is there for the Go side and makes each step
// many times slower, it plays less; the test command runs it in full without.
const modelSteps = 5_000
