package polybatch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestWhatTheServiceSaysIsInTheError(t *testing.T) {
	t.Parallel()
	said, err := status.New(codes.InvalidArgument, "2 of 9 lines are invalid").WithDetails(
		&errdetails.ErrorInfo{Reason: "INVALID_LINES", Domain: "polybatch", Metadata: map[string]string{"file_id": "file_1"}},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "line 7: body.model", Description: "is missing"},
			{Field: "line 9", Description: "is no JSON"},
			{Field: "completion_window", Description: "is over 7 days"},
		}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
	)
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if !errors.As(fmt.Errorf("submitting: %w", failedCall(said.Err(), "gateway", "localhost:1")), &e) {
		t.Fatal("it is none of this package")
	}
	if e.Code != codes.InvalidArgument || e.Reason != "INVALID_LINES" || e.Message != "2 of 9 lines are invalid" || e.Metadata["file_id"] != "file_1" || e.RetryDelay != 1500*time.Millisecond {
		t.Errorf("got %+v", e)
	}
	for i, want := range []int64{7, 9, 0} {
		if got := e.Violations[i].Line(); got != want {
			t.Errorf("%v is of line %d, want %d", e.Violations[i], got, want)
		}
	}
	if status.Code(e) != codes.InvalidArgument {
		t.Error("gRPC does not know its status")
	}
}

func TestWhatGRPCSaysNamesTheServer(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]struct {
		says    string
		lasting bool
	}{
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`: {
			says: "collector at localhost:1: dial tcp 127.0.0.1:1: connect: connection refused; does it run there? If not, set POLYBATCH_COLLECTOR",
		},
		`connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"`: {
			says: "TLS failed: tls: failed to verify certificate: x509: certificate signed by unknown authority", lasting: true,
		},
		`connection error: desc = "error reading server preface: remote error: tls: certificate required"`: {
			says: "TLS failed: tls: certificate required", lasting: true,
		},
		`connection error: desc = "transport: authentication handshake failed: EOF"`: {says: "authentication handshake failed: EOF"},
	} {
		e := failedCall(status.Error(codes.Unavailable, message), "collector", "localhost:1")
		if !strings.Contains(e.Message, want.says) || e.lasting != want.lasting || e.Name() != "UNAVAILABLE" {
			t.Errorf("got %q (lasting: %v), want %q", e.Error(), e.lasting, want.says)
		}
	}
	if e := failedCall(status.Error(codes.Canceled, "gone"), "gateway", "localhost:1"); e.Error() != "gateway at localhost:1: gone (CANCELLED)" {
		t.Errorf("got %q", e.Error())
	}
}
