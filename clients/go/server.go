package polybatch

import (
	"context"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // asks replicas whether they serve
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/polybatch/polybatch/clients/go/polybatchv1"
)

const callTimeout = time.Minute

// A million lines take a while.
var longerTimeouts = map[string]time.Duration{pb.BatchService_RetryBatch_FullMethodName: 15 * time.Minute}

// Where there may be several replicas, all machines behind a name are used by turns, and none that
// says that it is not serving.
const replicasConfig = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}`

// server is one of the two services, at all addresses of its replicas. Calls stay with one address
// until it fails, then they go to the next. Errors are of the type *Error, or the context's own.
type server struct {
	name      string // "gateway" or "collector"
	addresses []string
	conns     []*grpc.ClientConn
	at        atomic.Uint32 // index of the address that calls go to
	closed    atomic.Bool
	limit     time.Duration
	onRetry   func(*Error, time.Duration)
}

func newServer(name string, addresses []string, config Config) (*server, error) {
	s := &server{name: name, addresses: addresses, limit: config.Wait, onRetry: config.OnRetry}
	transport := insecure.NewCredentials()
	if config.TLS == TLSOn {
		files, err := config.tlsConfig()
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(files)
	}
	for _, address := range addresses {
		options := []grpc.DialOption{
			grpc.WithTransportCredentials(transport),
			grpc.WithPerRPCCredentials(bearer{config.APIKey, config.TLS == TLSOn}),
			grpc.WithUserAgent("polybatch-go/" + Version),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: firstWait, Multiplier: 2, Jitter: 0.2, MaxDelay: 2 * time.Second},
				MinConnectTimeout: 10 * time.Second,
			}),
			// Trying again is done here, where an upload knows its offset and a watch its revision.
			grpc.WithDisableRetry(),
			grpc.WithDisableServiceConfig(),
		}
		if len(addresses) > 1 || mayBeSeveral(address) {
			options = append(options, grpc.WithDefaultServiceConfig(replicasConfig))
		}
		conn, err := grpc.NewClient(target(address), options...)
		if err != nil {
			s.close()
			return nil, err
		}
		s.conns = append(s.conns, conn)
	}
	// Many programs make one call each.
	s.at.Store(mathrand.Uint32N(uint32(len(addresses))))
	return s, nil
}

func target(address string) string {
	for _, scheme := range []string{"unix:", "dns:"} {
		if len(address) > len(scheme) && address[:len(scheme)] == scheme {
			return address
		}
	}
	return "dns:///" + address
}

func (s *server) close() {
	s.closed.Store(true)
	for _, conn := range s.conns {
		// It only says that it was closed before.
		_ = conn.Close()
	}
}

func (s *server) tries() *tries { return &tries{limit: s.limit, onRetry: s.onRetry} }

// Invoke makes a call with one reply: again while it fails for what may pass, and each time within
// a minute. Requests that have a request id get a random one where they name none.
func (s *server) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	attempts := s.tries()
	args = repeatable(args)
	for {
		err := s.invokeOnce(ctx, method, args, reply, options...)
		if err == nil {
			return nil
		}
		if err = attempts.pause(ctx, err); err != nil {
			return err
		}
	}
}

// repeatable returns the request with a request id, where it may have one: else a call whose answer
// was lost would make a second batch.
func repeatable(args any) any {
	request, ok := args.(proto.Message)
	if !ok {
		return args
	}
	field := request.ProtoReflect().Descriptor().Fields().ByName("request_id")
	if field == nil || request.ProtoReflect().Has(field) {
		return args
	}
	request = proto.Clone(request)
	request.ProtoReflect().Set(field, protoreflect.ValueOfString(rand.Text()))
	return request
}

func (s *server) invokeOnce(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	within, cancel := context.WithTimeout(ctx, max(callTimeout, longerTimeouts[method]))
	defer cancel()
	at := s.at.Load()
	if err := s.conns[at].Invoke(within, method, args, reply, options...); err != nil {
		return s.failed(ctx, at, err)
	}
	return nil
}

// NewStream opens a stream at one address. It is not opened again when it breaks.
func (s *server) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	at := s.at.Load()
	opened, err := s.conns[at].NewStream(ctx, desc, method, options...)
	if err != nil {
		return nil, s.failed(ctx, at, err)
	}
	return &stream{opened, s, ctx, at}, nil
}

func (s *server) failed(ctx context.Context, at uint32, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	failed := failedCall(err, s.name, s.addresses[at])
	if s.closed.Load() && failed.Reason == "" {
		// gRPC says CANCELLED, which would be tried again where a server says it.
		return failure(codes.Canceled, "CLIENT_CLOSED", "the client was closed")
	}
	switch failed.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown:
		s.at.CompareAndSwap(at, (at+1)%uint32(len(s.conns)))
	}
	return failed
}

// stream is one whose errors are those of this package.
type stream struct {
	grpc.ClientStream
	server *server
	ctx    context.Context
	at     uint32
}

func (s *stream) SendMsg(message any) error {
	err := s.ClientStream.SendMsg(message)
	// The end of the file says that the service has answered: RecvMsg has the answer.
	if err != nil && err != io.EOF {
		return s.server.failed(s.ctx, s.at, err)
	}
	return err
}

func (s *stream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err != nil && err != io.EOF {
		return s.server.failed(s.ctx, s.at, err)
	}
	return err
}

// endedEarly is the error of a stream that ended well before its time, which is broken like any.
func (s *server) endedEarly(what string) error {
	early := failure(codes.Unavailable, "", "%s: the %s ended before its time", s.name, what)
	early.givenUp = false
	return early
}

// bearer is the key, as metadata of each call.
type bearer struct {
	key    string
	secure bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.key}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.secure }
