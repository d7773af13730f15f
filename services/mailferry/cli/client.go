package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/proto/mailferry/v1/mailferryv1connect"
)

// callTime bounds a call that does not stream.
const callTime = 90 * time.Second

// Client says how to reach control. It is embedded in every command.
type Client struct {
	Server    string `name:"server" env:"MAILFERRY_SERVER" placeholder:"URL" group:"connection" help:"Address of control, for instance http://127.0.0.1:8025; default: what 'mailferry up' wrote into its data folder."`
	TokenFile string `name:"token-file" env:"MAILFERRY_TOKEN_FILE" placeholder:"FILE" group:"connection" help:"File with the token (or the token itself in MAILFERRY_TOKEN)."`
	Data      string `name:"data" env:"MAILFERRY_DATA" default:"./mailferry-data" placeholder:"DIR" group:"connection" help:"Data folder of 'mailferry up' on this machine (${default})."`
	JSON      bool   `name:"json" group:"connection" help:"Print one JSON object a line."`
}

// AfterApply makes errors JSON too.
func (c *Client) AfterApply(env *Env) error {
	env.json = c.JSON
	return nil
}

// clients are the services of control.
type clients struct {
	caller   *caller
	accounts mailferryv1connect.AccountServiceClient
	runs     mailferryv1connect.RunServiceClient
	fleet    mailferryv1connect.FleetServiceClient
	dead     mailferryv1connect.DeadServiceClient
	routes   mailferryv1connect.RouteServiceClient
}

// dial returns the clients; nothing is sent yet.
func (c *Client) dial(env *Env) (*clients, error) {
	server, token, err := c.resolve(env)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usage("--server %q is not an address like http://127.0.0.1:8025", server)
	}
	// Not the default transport: a proxy of the environment has no business with a token.
	h := &http.Client{
		Transport:     &http.Transport{MaxIdleConns: 2, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: callTime},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	by := &caller{server, token}
	opts := connect.WithClientOptions(connect.WithInterceptors(by), connect.WithReadMaxBytes(64<<20))
	return &clients{
		caller:   by,
		accounts: mailferryv1connect.NewAccountServiceClient(h, server, opts),
		runs:     mailferryv1connect.NewRunServiceClient(h, server, opts),
		fleet:    mailferryv1connect.NewFleetServiceClient(h, server, opts),
		dead:     mailferryv1connect.NewDeadServiceClient(h, server, opts),
		routes:   mailferryv1connect.NewRouteServiceClient(h, server, opts),
	}, nil
}

// ClientFile is what 'mailferry up' writes into its data folder as client.json, so that commands on the
// same machine find it.
type ClientFile struct {
	Server string `json:"server"`
	// TokenFile is relative to the data folder unless absolute.
	TokenFile string `json:"token_file"`
}

// ClientFileName is the name of the client file in the data folder.
const ClientFileName = "client.json"

// resolve returns the server's address and the token. The token of the data folder goes only to the
// server of the data folder.
func (c *Client) resolve(env *Env) (server, token string, err error) {
	token = strings.TrimSpace(env.Getenv("MAILFERRY_TOKEN"))
	server = c.Server
	if c.TokenFile != "" {
		if token, err = readToken(c.TokenFile); err != nil {
			return "", "", err
		}
	}
	if server != "" {
		if token == "" {
			return "", "", usage("there is no token for %s: give --token-file, MAILFERRY_TOKEN_FILE or MAILFERRY_TOKEN", server)
		}
		return server, token, nil
	}
	path := filepath.Join(c.Data, ClientFileName)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", usage("no mailferry is known here (no %s): start one with 'mailferry up', name its folder with --data, or give --server and --token-file", path)
	}
	var f ClientFile
	if err == nil {
		err = json.Unmarshal(content, &f)
	}
	if err != nil {
		return "", "", &failure{"internal", fmt.Sprintf("%s cannot be read: %v", path, err), "give --server and --token-file"}
	}
	if token == "" {
		if !filepath.IsAbs(f.TokenFile) {
			f.TokenFile = filepath.Join(c.Data, f.TokenFile)
		}
		token, err = readToken(f.TokenFile)
	}
	return f.Server, token, err
}

func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &failure{"internal", fmt.Sprintf("the token file cannot be read: %v", err), "check --token-file and your rights to it"}
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, 4096))
	token := strings.TrimSpace(string(content))
	if err != nil || token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &failure{"internal", "there is no token in " + path, "the file holds one line, the token"}
	}
	return token, nil
}

// caller sends the token, bounds calls, and says whom it could not reach.
type caller struct{ server, token string }

func (c *caller) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		req.Header().Set("Authorization", "Bearer "+c.token)
		res, err := next(ctx, req)
		return res, c.unreachable(err)
	}
}

func (c *caller) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+c.token)
		return conn
	}
}

func (c *caller) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// unreachable explains an error that control did not send.
func (c *caller) unreachable(err error) error {
	var ce *connect.Error
	if !errors.As(err, &ce) || connect.IsWireError(err) || errors.Is(err, context.Canceled) {
		return err
	}
	switch ce.Code() {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeUnknown:
		kind := fault.KindOf(err)
		if kind == fault.Internal {
			kind = fault.Network
		}
		return &failure{kind.String(), fmt.Sprintf("control at %s does not answer: %s", c.server, rootOf(err)),
			"start it with 'mailferry up', or check --server"}
	}
	return err
}

// rootOf returns the innermost message of an error.
func rootOf(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
