package polybatch

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is what a call ended with. Get it with errors.As. What comes from this side, such as a
// file that cannot be read or a context that is done, is returned as it is instead.
type Error struct {
	Code codes.Code
	// Reason is polybatch's own word, such as INVALID_LINES; the comments of the protos name all.
	// Of this package itself are CLIENT_CLOSED, DIGEST_MISMATCH, HEADER_MISSING, RESULT_UNREADABLE
	// and UPLOAD_CHANGED. Empty where the status comes from gRPC, not from the service.
	Reason string
	// Message is for people.
	Message string
	// Metadata is what the service says beside the reason, such as ids and sizes.
	Metadata map[string]string
	// Violations are of a request's fields, or of a file's lines, 20 at most.
	Violations []Violation
	// RetryDelay is how long to wait before the same again; 0 where the service names no time.
	RetryDelay time.Duration
	// Server is "gateway" or "collector", Address where it was called; both are empty where
	// the error is not of one call.
	Server, Address string

	status  *status.Status
	told    bool // to wait: a delay of 0 is one, too
	lasting bool // whatever the code says
	givenUp bool // the same again makes no sense, or was tried for as long as it may be
}

// Violation is one thing that is wrong with a request.
type Violation struct {
	// Field is a path such as "completion_window"; of a file's line "line 7: body.model", or
	// "line 7" for the line as a whole.
	Field       string
	Description string
}

// Line returns the number of the line that is wrong, from 1, and 0 where it is no line.
func (v Violation) Line() int64 {
	number, ok := strings.CutPrefix(v.Field, "line ")
	if !ok {
		return 0
	}
	number, _, _ = strings.Cut(number, ":")
	line, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0
	}
	return line
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Message, e.Name()) }

// Name is the reason, or gRPC's name of the code, such as NOT_FOUND, where there is none.
func (e *Error) Name() string {
	if e.Reason != "" {
		return e.Reason
	}
	return code.Code(e.Code).String()
}

// GRPCStatus makes status.Code and its like work.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// failure is an error of this package itself, of which trying again makes nothing better.
func failure(of codes.Code, reason, format string, values ...any) *Error {
	message := fmt.Sprintf(format, values...)
	return &Error{Code: of, Reason: reason, Message: message, status: status.New(of, message), givenUp: true}
}

// failedCall reads what a call of a service ended with.
func failedCall(err error, server, address string) *Error {
	given := status.Convert(err)
	e := &Error{Code: given.Code(), Message: given.Message(), Server: server, Address: address, status: given}
	for _, detail := range given.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{violation.GetField(), violation.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.told, e.RetryDelay = true, detail.GetRetryDelay().AsDuration()
		}
	}
	if e.Reason == "" {
		e.explain()
	}
	return e
}

var (
	inner     = regexp.MustCompile(`desc = "(?:transport: )?(?:Error while dialing: )?(.*)"$`)
	handshake = regexp.MustCompile(`(?:handshake failed|remote error): .*?((?:x509|tls): .*)$`)
)

// explain makes something for people of a status that comes from gRPC, which names no server.
func (e *Error) explain() {
	at := fmt.Sprintf("%s at %s", e.Server, e.Address)
	variable := "POLYBATCH_" + strings.ToUpper(e.Server)
	switch e.Code {
	case codes.Unimplemented:
		e.Message = fmt.Sprintf("%s does not know this call; it may be older than this client, or check %s", at, variable)
		return
	case codes.Unavailable:
	default:
		e.Message = fmt.Sprintf("%s: %s", at, e.Message)
		return
	}
	cause := e.Message
	if found := inner.FindStringSubmatch(cause); found != nil {
		cause = found[1]
	}
	switch {
	case cause == "no children to pick from":
		cause = "its name does not resolve"
	case strings.HasPrefix(cause, "error reading server preface"):
		cause += "; a service that speaks TLS is named with grpcs://"
	}
	if found := handshake.FindStringSubmatch(cause); found != nil {
		// Somebody has to do something about it.
		e.lasting = true
		e.Message = fmt.Sprintf("%s: TLS failed: %s; check the certificate and POLYBATCH_TLS_CA, or turn TLS off where none is spoken", at, found[1])
		return
	}
	e.Message = fmt.Sprintf("%s: %s; does it run there? If not, set %s", at, cause, variable)
}
