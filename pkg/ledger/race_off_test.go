//go:build !race

package ledger

// modelSteps is how long the model plays.
const modelSteps = 200_000
