package segment

import (
	"math/bits"
	"math/rand/v2"
	"testing"
)

// TestPermute compares with the definition, bit by bit.
func TestPermute(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		v := Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
		got := Permute(v)
		for chunk := range 16 {
			for i := range 16 {
				if have, want := row(&got, chunk)>>i&1, row(&v, i)>>((i+chunk)%16)&1; have != want {
					t.Fatalf("bit %d of chunk %d is %d", i, chunk, have)
				}
			}
		}
		if Restore(got) != v {
			t.Fatal("not undone")
		}
	}
	ones := 0
	for _, w := range Permute(Value{1, 3, 7, 1 << 63}) {
		ones += bits.OnesCount64(w)
	}
	if ones != 7 {
		t.Errorf("%d bits", ones)
	}
}
