package api

import (
	"bufio"
	"strings"
	"testing"
	"testing/iotest"
)

// TestFirstLine: a byte order mark, however it comes, is no line.
func TestFirstLine(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"\ufeff\nmd5\n", "\n \ufeff\r\nmd5\n", "\ufeffmd5\n"} {
		if got, err := firstLine(bufio.NewReader(iotest.OneByteReader(strings.NewReader(list + "next")))); string(got) != list || err != nil {
			t.Errorf("%q begins with %q: %v", list, got, err)
		}
	}
}
