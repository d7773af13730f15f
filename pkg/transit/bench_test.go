package transit

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkPublish measures one publisher with messages of 2 KB, server included.
func BenchmarkPublish(b *testing.B) {
	h := newHouse(b, Config{MaxBytes: 20 << 30, MaxMessages: 100_000_000})
	body := bodyOf(2000, 1)
	p := h.Publisher(0)
	b.SetBytes(2000)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		m := message("acc", fmt.Sprintf("p%014x", i))
		m.ListedSize = 2000
		err := p.Put(b.Context(), m, bytes.NewReader(body), func(err error) {
			if err != nil {
				b.Error(err)
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkDeliver measures taking, reading and acknowledging by 32 goroutines, server included.
func BenchmarkDeliver(b *testing.B) {
	h := newHouse(b, Config{MaxBytes: 20 << 30, MaxMessages: 100_000_000})
	h.fill("example.com", "acc", b.N, 2000)
	in := h.intake(0)
	b.ReportAllocs()
	b.ResetTimer()
	parcels := make(chan *Parcel)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for p := range parcels {
				h.body(p)
				h.ack(p)
			}
		})
	}
	for range b.N {
		parcels <- h.next(in)
	}
	close(parcels)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkBody measures bodies of 10 MB, there and back.
func BenchmarkBody(b *testing.B) {
	h := newHouse(b, Config{})
	in := h.intake(0)
	body := bodyOf(10<<20, 1)
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	for range b.N {
		h.mustPut(message("acc", "p1"), body)
		p := h.next(in)
		h.body(p)
		h.ack(p)
	}
}
