package lmtp

import "time"

// Fast has messages ride together however long a server takes for them.
func (c *Client) Fast() *Client {
	for _, e := range c.endpoints {
		e.pool.pace, e.pool.fast = 1, time.Hour
	}
	return c
}
