package budget

import "container/heap"

// scores are members by score, as in a sorted set of Redis whose scores are times: those that have passed are counted, and
// forgotten after a while. What was removed stays in the heaps until its turn.
type scores struct {
	of            map[uint32]*score
	ahead, behind byScore // of the time that was last asked for
	now           float64
	past          int // of those behind, the ones not removed
}

type score struct {
	at      float64
	key     uint32
	removed bool
}

func newScores() scores { return scores{of: map[uint32]*score{}} }

// get returns the score of a member, if it is one.
func (s *scores) get(key uint32) (at float64, ok bool) {
	if e := s.of[key]; e != nil {
		return e.at, true
	}
	return 0, false
}

func (s *scores) set(key uint32, at float64) {
	s.remove(key)
	e := &score{at: at, key: key}
	s.of[key] = e
	if at <= s.now {
		s.past++
		heap.Push(&s.behind, e)
	} else {
		heap.Push(&s.ahead, e)
	}
}

func (s *scores) remove(key uint32) {
	e := s.of[key]
	if e == nil {
		return
	}
	delete(s.of, key)
	if e.removed = true; e.at <= s.now {
		s.past--
	}
}

// passed is how many members have a score of now or less. Its time does not go back.
func (s *scores) passed(now float64) int {
	s.now = now
	for len(s.ahead) > 0 && s.ahead[0].at <= now {
		if e := heap.Pop(&s.ahead).(*score); !e.removed {
			s.past++
			heap.Push(&s.behind, e)
		}
	}
	return s.past
}

// forget removes those with a score of until or less.
func (s *scores) forget(until float64) {
	for _, h := range []*byScore{&s.behind, &s.ahead} {
		for len(*h) > 0 && (*h)[0].at <= until {
			if e := heap.Pop(h).(*score); !e.removed {
				s.remove(e.key)
			}
		}
	}
}

// byScore is a heap, the lowest score first.
type byScore []*score

func (h byScore) Len() int           { return len(h) }
func (h byScore) Less(i, j int) bool { return h[i].at < h[j].at }
func (h byScore) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byScore) Push(x any)        { *h = append(*h, x.(*score)) }
func (h *byScore) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
