package operation

import "bytes"

const (
	// bytesPerToken is about what English and code come to with today's tokenizers; JSON's own marks
	// make up for the languages that take more.
	bytesPerToken = 4
	// attachment is what an image, a recording or a file comes to, give or take: its size tells little.
	attachment = 1024
	// longRun is longer than what base64 stands for that is no attachment.
	longRun = 512
)

// TextTokens estimates how many tokens so many bytes of text come to.
func TextTokens(size int64) int64 { return (size + bytesPerToken - 1) / bytesPerToken }

// InputTokens estimates how many tokens the body comes to, before anybody counted them: a quarter of its
// bytes, where base64 that stands for an attachment counts as one, and so does a whole form. What the body
// only refers to (a stored file or response, an image by its address) is not in it.
func (r *Request) InputTokens() int64 {
	if r.Body == Multipart {
		return attachment
	}
	return inputTokens(r.body)
}

func inputTokens(body []byte) int64 {
	text, attachments := len(body), 0
	// A long run covers one of every longRun bytes: the others need not be looked at.
	for i := longRun; i < len(body); i += longRun {
		if !base64[body[i]] {
			continue
		}
		start, end := i, i
		for start > 0 && base64[body[start-1]] {
			start--
		}
		for end < len(body) && base64[body[end]] {
			end++
		}
		if end-start > longRun {
			if introducesData(body[:start]) {
				text -= end - start
				attachments++
			}
			i = end // the next run begins after it
		}
	}
	return int64(attachments)*attachment + TextTokens(int64(text))
}

// base64 are the characters of RFC 4648's two alphabets.
var base64 = func() (is [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=") {
		is[c] = true
	}
	return is
}()

// dataNames are the fields that hold base64: OpenAI's input_audio, Anthropic's source and Google's
// inlineData have data, the others are Google's and OpenAI's for images.
var dataNames = [][]byte{[]byte(`"data"`), []byte(`"bytesBase64Encoded"`), []byte(`"b64_json"`)}

// introducesData reports whether base64 is what comes after: in a data URL (RFC 2397), or as the value of a
// field that holds it. Any other long run is a text without spaces, and is charged as one.
func introducesData(before []byte) bool {
	if bytes.HasSuffix(before, []byte(";base64,")) {
		return true
	}
	name, quoted := bytes.CutSuffix(before, []byte(`"`))
	name, member := bytes.CutSuffix(bytes.TrimRight(name, " \t\r\n"), []byte(":"))
	name = bytes.TrimRight(name, " \t\r\n")
	if !quoted || !member {
		return false
	}
	for _, n := range dataNames {
		if bytes.HasSuffix(name, n) {
			return true
		}
	}
	return false
}
