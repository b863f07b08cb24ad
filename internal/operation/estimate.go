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

// InputTokens estimates how many tokens the body comes to, before anybody counted them: a quarter of
// its bytes, where a run of base64 counts as one attachment, and so does a whole form.
func (r *Request) InputTokens() int64 {
	if r.Body == Multipart {
		return attachment
	}
	return inputTokens(r.body)
}

func inputTokens(body []byte) int64 {
	var tokens, text, run int64
	end := func() {
		if run > longRun {
			tokens += attachment
		} else {
			text += run
		}
		run = 0
	}
	for _, c := range body {
		if base64[c] {
			run++
			continue
		}
		end()
		text++
	}
	end()
	return tokens + (text+bytesPerToken-1)/bytesPerToken
}

// base64 are the characters of RFC 4648's two alphabets.
var base64 = func() (is [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=") {
		is[c] = true
	}
	return is
}()
