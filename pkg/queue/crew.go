package queue

import "sync"

// crew does pieces of work that come in from elsewhere, at most so many at a time.
type crew struct {
	most int

	mu      sync.Mutex
	open    int
	ended   bool
	running sync.WaitGroup
}

// start does f in a goroutine of its own, unless as many as may are at work, or the end has come.
func (c *crew) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.open == c.most {
		return false
	}
	c.open++
	c.running.Go(func() {
		defer c.close()
		f()
	})
	return true
}

func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// end lets nothing begin any more. What goes on is waited for with running.
func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}
