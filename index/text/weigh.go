package text

import (
	"context"

	"github.com/blevesearch/bleve/v2/index/scorch"
	index "github.com/blevesearch/bleve_index_api"
)

// even is an index in which all words are equally rare. bleve would weigh words by how many entries of the index have them:
// then the order of hits, and their scores, would tell a reader what stands in banks that are not theirs. So a score is of
// the query and the entry alone, and changes only with them.
//
// Its readers also end when the context does. It is for one goroutine.
type even struct {
	index.IndexReader
	documents uint64
}

// TermFieldReader returns the reader of a word.
func (e *even) TermFieldReader(ctx context.Context, word []byte, field string, freq, norm, vectors bool) (index.TermFieldReader, error) {
	r, err := e.IndexReader.TermFieldReader(ctx, word, field, freq, norm, vectors)
	if err != nil {
		return nil, err
	}
	e.documents = r.Count() + 1
	if of, ok := r.(*scorch.IndexSnapshotTermFieldReader); ok {
		return &ending{IndexSnapshotTermFieldReader: of, ctx: ctx}, nil
	}
	return r, nil
}

// DocCount is asked for after each TermFieldReader, and is such that bleve's factor for the rarity of the word, 1 +
// ln(documents / (documents with the word + 1)), is 1.
func (e *even) DocCount() (uint64, error) { return e.documents, nil }

// ending is a reader that ends when its context does.
type ending struct {
	*scorch.IndexSnapshotTermFieldReader
	ctx context.Context
	n   uint
}

func (e *ending) over() error {
	if e.n++; e.n%1024 == 0 {
		return e.ctx.Err()
	}
	return nil
}

func (e *ending) Next(into *index.TermFieldDoc) (*index.TermFieldDoc, error) {
	if err := e.over(); err != nil {
		return nil, err
	}
	return e.IndexSnapshotTermFieldReader.Next(into)
}

func (e *ending) Advance(id index.IndexInternalID, into *index.TermFieldDoc) (*index.TermFieldDoc, error) {
	if err := e.over(); err != nil {
		return nil, err
	}
	return e.IndexSnapshotTermFieldReader.Advance(id, into)
}
