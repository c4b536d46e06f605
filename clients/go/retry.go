package polybatch

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	firstWait   = 200 * time.Millisecond
	longestWait = 5 * time.Second
	// How often in a row what may never pass is tried again.
	mostUnclear = 3
)

// tries are the attempts of one operation.
type tries struct {
	limit   time.Duration // in which nothing may get through
	onRetry func(*Error, time.Duration)

	failures, unclear int // since something got through
	first             time.Time
}

// progress says that something got through: the next failure is a first one again.
func (t *tries) progress() { t.failures, t.unclear = 0, 0 }

// late is whether the next failure will be the last one, if nothing has got through.
func (t *tries) late(now time.Time) bool {
	return t.failures > 0 && now.Sub(t.first) >= t.limit
}

// next returns how long to wait before the next attempt, false where none makes sense. `jitter`
// is from 0 to 1.
func (t *tries) next(failed *Error, now time.Time, jitter float64) (time.Duration, bool) {
	if t.failures == 0 {
		t.first = now
	}
	t.failures++
	left := t.limit - now.Sub(t.first)
	if failed.givenUp || !t.passes(failed) || left <= 0 || failed.RetryDelay > left {
		return 0, false
	}
	// The replica is being stopped, in order: there is another one, or soon will be.
	if failed.Reason == "SERVER_STOPPING" && t.failures == 1 {
		return 0, true
	}
	ceiling := min(longestWait, firstWait<<min(t.failures-1, 10))
	wait := ceiling/2 + time.Duration(jitter*float64(ceiling/2))
	// The last attempt comes when the time is over, not before.
	return min(max(wait, failed.RetryDelay), left), true
}

// passes is whether the same again may succeed. Every call may be repeated.
func (t *tries) passes(failed *Error) bool {
	switch {
	case failed.lasting:
		return false
	case failed.Reason == "STORED_BYTES_LIMIT", failed.Reason == "WEBHOOKS_LIMIT":
		// Only what the account itself does ends these.
		return false
	case failed.Reason == "WRITE_OFFSET_MISMATCH":
		// Another stream of the same upload was there.
		t.unclear++
		return t.unclear <= mostUnclear
	}
	switch failed.Code {
	case codes.Unavailable, codes.Aborted, codes.Canceled, codes.DeadlineExceeded:
		return true
	case codes.ResourceExhausted:
		return failed.told
	case codes.Internal, codes.Unknown, codes.DataLoss:
		t.unclear++
		return t.unclear <= mostUnclear
	default:
		return false
	}
}

// pause waits before the next attempt, and returns the error where none makes sense.
func (t *tries) pause(ctx context.Context, err error) error {
	var failed *Error
	if !errors.As(err, &failed) {
		return err
	}
	wait, again := t.next(failed, time.Now(), rand.Float64())
	if !again {
		failed.givenUp = true
		return err
	}
	if t.onRetry != nil {
		t.onRetry(failed, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
