package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"vigie/matcher"
)

// local is who asks through the socket in the data folder.
var local = matcher.Local().Actor

type principalKey struct{}

// TrustLocal marks the connections of a listener that only the operator of the machine can reach (a
// socket in the data folder, memory): their requests need no key and act as admin "local". Use it as
// http.Server.ConnContext of that listener, never of one on the network.
func TrustLocal(ctx context.Context) context.Context {
	return context.WithValue(ctx, principalKey{}, matcher.Local())
}

// who asks. It is nobody where the contract asks for no key.
func who(ctx context.Context) matcher.Principal {
	p, _ := ctx.Value(principalKey{}).(matcher.Principal)
	return p
}

// actor is the id of who asks, for the log.
func actor(ctx context.Context) string { return who(ctx).Actor }

// standing is why who asks may not go on: the key was revoked meanwhile, or has expired, or the node
// drains. Requests that last ask again and again.
func (s *Server) standing(ctx context.Context) error {
	if s.draining.Load() {
		return refuse(pNotReady, "the node is draining")
	}
	if p := who(ctx); p != matcher.Local() {
		return s.matcher.Standing(p.Actor)
	}
	return nil
}

// authenticate lets a request through if its key's role is among the operation's x-roles. Operations
// without x-roles are open.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op := s.operation(c)
		if op == nil || len(op.roles) == 0 {
			return next(c)
		}
		ctx := c.Request().Context()
		p, known := ctx.Value(principalKey{}).(matcher.Principal)
		if !known {
			scheme, text, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
			if scheme != "" && !strings.EqualFold(scheme, "Bearer") {
				return fmt.Errorf("%w: the header is written `Authorization: Bearer vg_...`", matcher.ErrBadKey)
			}
			key, err := s.matcher.Authenticate(strings.TrimSpace(text))
			if err != nil {
				return err
			}
			p = matcher.Principal{Actor: key.ID, Party: key.Party, Role: key.Role}
			ctx = context.WithValue(ctx, principalKey{}, p)
			c.SetRequest(c.Request().WithContext(ctx))
			s.matcher.SignedIn(ctx, p, network(c.RealIP(), shown4, shown6))
		}
		if !slices.Contains(op.roles, p.Role) {
			return refuse(pForbidden, "this needs one of the roles %v; the key's role is %s", op.roles, p.Role)
		}
		return next(c)
	}
}
