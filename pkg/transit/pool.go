package transit

import (
	"math/bits"
	"sync"
)

const minClass = 12 // 4 KiB

// pool keeps payload buffers by powers of two.
type pool struct {
	classes []sync.Pool
}

// newPool keeps buffers up to the power of two that holds largest.
func newPool(largest int) *pool {
	return &pool{classes: make([]sync.Pool, classOf(largest)+1)}
}

// classOf returns the class whose buffers hold n bytes.
func classOf(n int) int {
	return max(bits.Len(uint(max(n, 1)-1))-minClass, 0)
}

// get returns an empty buffer with room for n bytes.
func (p *pool) get(n int) []byte {
	c := classOf(n)
	if c >= len(p.classes) {
		return make([]byte, 0, n)
	}
	if b, ok := p.classes[c].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<(c+minClass))
}

// put takes a buffer back; nobody may use it afterwards.
func (p *pool) put(b []byte) {
	c := classOf(cap(b))
	if c >= len(p.classes) || cap(b) != 1<<(c+minClass) {
		return
	}
	p.classes[c].Put(&b)
}

// grow returns b with room for n bytes in all; b itself goes back where that needs another buffer.
func (p *pool) grow(b []byte, n int) []byte {
	if cap(b) >= n {
		return b
	}
	g := append(p.get(n), b...)
	p.put(b)
	return g
}
