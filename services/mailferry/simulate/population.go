package simulate

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/mailferry/mailferry/pkg/due"
)

// populate makes the accounts, and has them due by their schedule.
func (s *sim) populate(ctx context.Context) error {
	s.accts = make([]acct, s.cfg.Accounts)
	s.wheel = newWheel(s.accts, uint32(s.turns.Tick().Milliseconds()), first+uint32(s.cfg.Duration.Milliseconds()))
	s.wheel.done = first / s.wheel.tick
	s.domains = make([]string, s.cfg.Domains)
	for i := range s.domains {
		s.domains[i] = fmt.Sprintf("d%d.example", i)
	}
	sizes := skewed(s.cfg.Domains)
	shares := make([]float64, len(s.places)) // where the share of each provider ends
	var all float64
	for i := range s.places {
		all += s.places[i].Share
		shares[i] = all
	}
	firstHost := make([]int, len(s.places))
	for i := 1; i < len(s.places); i++ {
		firstHost[i] = firstHost[i-1] + s.places[i-1].Hosts
	}
	for i := range s.accts {
		if i%100_000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		a, uid := &s.accts[i], s.uid(uint32(i))
		a.shard = uint8(due.ShardOf(uid))
		a.domain = uint32(choose(sizes, s.chance(i, 1)))
		p := choose(shares, s.chance(i, 2))
		a.host = uint16(firstHost[p] + int(s.chance(i, 3)*float64(s.places[p].Hosts)))
		s.places[p].total.Accounts++
		entry := s.planned(uint32(i), uid).Entry
		s.wheel.set(uint32(i), s.ms(s.turns.First(entry, start)))
	}
	return nil
}

// chance is a number from 0 to less than 1 of an account, another one for each what.
func (s *sim) chance(account, what int) float64 {
	return fraction(mix(mix(s.cfg.Seed, uint64(what)), uint64(account)))
}

func fraction(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// skewed are the sizes of domains, as those of hosting providers are: the n-th largest has one n-th of the largest to the power of
// 0.8. Each is the sum up to it.
func skewed(domains int) []float64 {
	sums, sum := make([]float64, domains), 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -0.8)
		sums[i] = sum
	}
	return sums
}

// choose returns where a part of the last sum lies.
func choose(sums []float64, part float64) int {
	want := part * sums[len(sums)-1]
	i, _ := slices.BinarySearchFunc(sums, want, cmp.Compare[float64])
	return min(i, len(sums)-1)
}
