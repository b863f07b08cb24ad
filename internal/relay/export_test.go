package relay

// Scan reads an answer that comes in those pieces.
func Scan(pieces ...[]byte) (o Outcome, cut bool) {
	s := scanner{o: &o}
	for _, p := range pieces {
		s.Write(p)
	}
	return o, s.cut()
}
