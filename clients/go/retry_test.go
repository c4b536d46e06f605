package polybatch

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	const always = 8
	for _, test := range []struct {
		failed Error
		times  int // it is tried again
	}{
		{Error{Code: codes.Unavailable}, always},
		{Error{Code: codes.Aborted, Reason: "UPLOAD_UNFINISHED"}, always},
		{Error{Code: codes.DeadlineExceeded}, always},
		{Error{Code: codes.Canceled}, always},
		{Error{Code: codes.ResourceExhausted, told: true}, always},
		{Error{Code: codes.ResourceExhausted, Reason: "BATCHES_LIMIT"}, 0},
		{Error{Code: codes.ResourceExhausted, Reason: "STORED_BYTES_LIMIT", told: true}, 0},
		{Error{Code: codes.Internal}, mostUnclear},
		{Error{Code: codes.Unknown}, mostUnclear},
		{Error{Code: codes.DataLoss}, mostUnclear},
		{Error{Code: codes.FailedPrecondition, Reason: "WRITE_OFFSET_MISMATCH"}, mostUnclear},
		{Error{Code: codes.FailedPrecondition, Reason: "BATCH_ENDED"}, 0},
		{Error{Code: codes.InvalidArgument, Reason: "INVALID_LINES"}, 0},
		{Error{Code: codes.Unauthenticated, Reason: "API_KEY_REVOKED"}, 0},
		{Error{Code: codes.PermissionDenied}, 0},
		{Error{Code: codes.NotFound}, 0},
		{Error{Code: codes.Unavailable, lasting: true}, 0},
		{Error{Code: codes.Unavailable, givenUp: true}, 0},
	} {
		attempts := tries{limit: time.Hour}
		times := 0
		for times < always {
			if _, again := attempts.next(&test.failed, time.Unix(0, 0), 0); !again {
				break
			}
			times++
		}
		if times != test.times {
			t.Errorf("%s is tried again %d times, want %d", test.failed.Name(), times, test.times)
		}
		attempts.progress()
		if _, again := attempts.next(&test.failed, time.Unix(0, 0), 0); again != (test.times > 0) {
			t.Errorf("%s after progress: %v", test.failed.Name(), again)
		}
	}
}

func TestHowLongItWaits(t *testing.T) {
	t.Parallel()
	attempts := tries{limit: 20 * time.Second}
	now := time.Unix(0, 0)
	away := &Error{Code: codes.Unavailable}
	for _, seconds := range []float64{0.2, 0.4, 0.8, 1.6, 3.2, 5, 5} {
		longest := time.Duration(seconds * float64(time.Second))
		for jitter, want := range map[float64]time.Duration{0: longest / 2, 1: longest} {
			attempts := attempts
			if got, again := attempts.next(away, now, jitter); got != want || !again {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		attempts.next(away, now, 1)
	}
	told := &Error{Code: codes.Unavailable, told: true, RetryDelay: 9 * time.Second}
	if got, _ := attempts.next(told, now, 0); got != told.RetryDelay {
		t.Errorf("told to wait: got %v", got)
	}
	now = now.Add(19 * time.Second)
	if got, again := attempts.next(away, now, 1); got != time.Second || !again {
		t.Errorf("the last wait ends with the time: got %v", got)
	}
	if _, again := attempts.next(told, now, 1); again {
		t.Error("it waits although what it was told is beyond its time")
	}
	now = now.Add(time.Second)
	if !attempts.late(now) {
		t.Error("it is not late")
	}
	if _, again := attempts.next(away, now, 1); again {
		t.Error("it goes on after its time")
	}
	attempts.progress()
	if _, again := attempts.next(away, now, 1); !again || attempts.late(now) {
		t.Error("it gives up although something got through")
	}
}

func TestAServerThatStopsIsLeftAtOnceButOnlyOnce(t *testing.T) {
	t.Parallel()
	attempts := tries{limit: time.Minute}
	stopping := &Error{Code: codes.Unavailable, Reason: "SERVER_STOPPING", told: true, RetryDelay: time.Second}
	for i, want := range []time.Duration{0, time.Second} {
		if got, again := attempts.next(stopping, time.Unix(0, 0), 0); got != want || !again {
			t.Errorf("failure %d: got %v, want %v", i, got, want)
		}
	}
	unwilling := tries{limit: NoWait}
	if _, again := unwilling.next(stopping, time.Unix(0, 0), 0); again {
		t.Error("it tries again although it was not to wait at all")
	}
}
