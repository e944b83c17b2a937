package api

import (
	"errors"
	"fmt"

	"github.com/labstack/echo/v4"

	"vigie/matcher"
	"vigie/storage"
)

// outcome keeps a request that has changed something from saying that nothing has happened: the database may go away after the
// change, when the answer is read.
func (s *Server) outcome(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, changed := matcher.WithChanged(c.Request().Context())
		c.SetRequest(c.Request().WithContext(ctx))
		err := next(c)
		if errors.Is(err, storage.ErrUnavailable) && changed() {
			return fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, err)
		}
		return err
	}
}
