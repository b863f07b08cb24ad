package usage

import (
	"fmt"
	"math"
	"strings"
)

// USD is money, in billionths of a dollar: a sum of millions of calls is exact, which one of floating
// point is not. A single call is rounded by at most half of one.
type USD int64

const (
	dollar USD = 1e9
	// dearest is more than a call can cost.
	dearest = 1e6
)

func (u *USD) UnmarshalJSON(b []byte) error {
	*u = USD(math.Round(number(b, dearest) * float64(dollar)))
	return nil
}

// plus stops at the largest amount, nine billion dollars, instead of starting again below nothing.
func (u USD) plus(v USD) USD {
	if u > math.MaxInt64-v {
		return math.MaxInt64
	}
	return u + v
}

func (u USD) dollars() float64 { return float64(u) / float64(dollar) }

// String is the exact amount, without zeros that say nothing.
func (u USD) String() string {
	s := fmt.Sprintf("%d.%09d", u/dollar, u%dollar)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalJSON writes a number.
func (u USD) MarshalJSON() ([]byte, error) { return []byte(u.String()), nil }

// round is the amount with so many decimals, 9 at most, and < before the least one where it is smaller than that.
func (u USD) round(decimals int) string {
	unit := USD(math.Pow10(9 - decimals))
	if u > 0 && u < unit/2 {
		return "<" + fmt.Sprintf("%.*f", decimals, math.Pow10(-decimals))
	}
	if u < math.MaxInt64-unit {
		u = (u + unit/2) / unit * unit
	}
	s := separated(int64(u / dollar))
	if decimals > 0 {
		s += "." + fmt.Sprintf("%09d", u%dollar)[:decimals]
	}
	return s
}

// decimals are as many as an amount of this size needs: cents for a hundred dollars, and more below.
func (u USD) decimals() int {
	switch {
	case u >= 100*dollar || u == 0:
		return 2
	case u >= dollar:
		return 4
	case u >= dollar/1000:
		return 6
	}
	return 9
}

// separated is n with commas.
func separated(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
