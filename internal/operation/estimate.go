package operation

const (
	// bytesPerToken is about what English and code come to with today's tokenizers; JSON's own marks
	// make up for the languages that take more.
	bytesPerToken = 4
	// attachment is what an image, a recording or a file comes to, give or take: its size tells little.
	attachment = 1024
	// longRun is longer than any word, number or identifier: such a run is base64.
	longRun = 512
)

// InputTokens estimates how many tokens the body comes to, before anybody counted them; a form counts as
// one attachment.
func (r *Request) InputTokens() int64 {
	if r.Body == Multipart {
		return attachment
	}
	return inputTokens(r.body)
}

func inputTokens(body []byte) int64 {
	var e Estimate
	e.Add(body)
	return e.Tokens()
}

// Estimate estimates how many tokens a text comes to: a quarter of its bytes, where a run of base64 counts
// as one attachment.
type Estimate struct{ attachments, text, run int64 }

// Add adds the text's next part.
func (e *Estimate) Add(text []byte) {
	for _, c := range text {
		if base64[c] {
			e.run++
			continue
		}
		e.endRun()
		e.text++
	}
}

// Tokens is what the parts so far come to.
func (e *Estimate) Tokens() int64 {
	all := *e
	all.endRun()
	return all.attachments*attachment + (all.text+bytesPerToken-1)/bytesPerToken
}

func (e *Estimate) endRun() {
	if e.run > longRun {
		e.attachments++
	} else {
		e.text += e.run
	}
	e.run = 0
}

// base64 are the characters of RFC 4648's two alphabets.
var base64 = func() (is [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=") {
		is[c] = true
	}
	return is
}()
