package usage

import "math"

// Latencies is a histogram of seconds from a tenth of a millisecond to fourteen hours, whose buckets grow by 4 %: a
// quantile is within 2 % of a true value (the square root of 1.04), and the memory is bounded
// whatever the number of calls.
type Latencies struct {
	// counts are of the buckets from first on; those around them are empty.
	first  int
	counts []int64
	calls  int64
}

const (
	shortest = 1e-4
	growth   = 1.04
	buckets  = 512
)

func (l *Latencies) add(seconds float64) {
	i := 0
	if seconds > shortest {
		i = min(int(math.Log(seconds/shortest)/math.Log(growth)), buckets-1)
	}
	l.addTo(i, 1)
}

func (l *Latencies) addTo(bucket int, n int64) {
	switch end := l.first + len(l.counts); {
	case len(l.counts) == 0:
		l.first, l.counts = bucket, []int64{0}
	case bucket < l.first:
		l.counts = append(make([]int64, l.first-bucket), l.counts...)
		l.first = bucket
	case bucket >= end:
		l.counts = append(l.counts, make([]int64, bucket-end+1)...)
	}
	l.counts[bucket-l.first] += n
	l.calls += n
}

func (l *Latencies) merge(o *Latencies) {
	for i, n := range o.counts {
		if n > 0 {
			l.addTo(o.first+i, n)
		}
	}
}

// Quantile is the time within which that share of the calls was answered; not ok where there was none.
func (l *Latencies) Quantile(share float64) (seconds float64, ok bool) {
	rank := max(int64(math.Ceil(share*float64(l.calls))), 1)
	for i, n := range l.counts {
		if rank -= n; rank <= 0 {
			return shortest * math.Pow(growth, float64(l.first+i)+0.5), true
		}
	}
	return 0, false
}
