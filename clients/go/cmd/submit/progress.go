package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"unicode"

	polybatch "github.com/polybatch/polybatch/clients/go"
	"github.com/polybatch/polybatch/clients/go/polybatchv1"
)

// The most shards whose waiting is told of.
const mostShards = 5

// progress shows snapshots that say more than counts that have moved on.
type progress struct{ shown string }

func (p *progress) show(batch *polybatch.Batch) {
	state := strings.ToLower(strings.TrimPrefix(batch.GetState().String(), "BATCH_STATE_"))
	percent := fmt.Sprintf("%.0f %%", math.Floor(batch.GetProgressPercent()))
	because := reasons(batch)
	news := strings.Join(append([]string{state, percent}, because...), "; ")
	if news == p.shown {
		return
	}
	p.shown = news
	counts := batch.GetRequestCounts()
	text := fmt.Sprintf("%s: %s (%s), %s, %d of %d lines", batch.GetId(), batch.GetDisplayState(),
		state, percent, counts.GetSucceeded()+unsuccessful(counts), counts.GetTotal())
	for _, apart := range []struct {
		count int64
		word  string
	}{{counts.GetFailed(), "failed"}, {counts.GetCancelled(), "cancelled"}, {counts.GetExpired(), "expired"}} {
		if apart.count > 0 {
			text += fmt.Sprintf(", %d %s", apart.count, apart.word)
		}
	}
	say("%s", strings.Join(append([]string{text}, because...), "; "))
}

// reasons are those of failures and of waiting.
func reasons(batch *polybatch.Batch) []string {
	var found []string
	for _, failed := range batch.GetErrors() {
		found = append(found, fmt.Sprintf("%s: %s", failed.GetCode(), failed.GetMessage()))
	}
	if cause := batch.GetCommonCause(); cause != nil {
		found = append(found, fmt.Sprintf("every line failed for one cause: %s: %s", cause.GetCode(), cause.GetMessage()))
	}
	if waits := batch.GetWaitingReason(); waits != "" {
		found = append(found, "it waits: "+waits)
	}
	shards := 0
	for _, shard := range batch.GetShards() {
		if waits := shard.GetWaitingReason(); waits != "" && shards < mostShards {
			found = append(found, fmt.Sprintf("%s waits: %s", shard.GetModel(), waits))
			shards++
		}
	}
	return found
}

// unsuccessful is how many lines have ended without success.
func unsuccessful(counts *polybatchv1.RequestCounts) int64 {
	return counts.GetFailed() + counts.GetCancelled() + counts.GetExpired()
}

// say writes a line to stderr.
func say(format string, values ...any) {
	fmt.Fprintln(os.Stderr, printable(fmt.Sprintf(format, values...)))
}

// printable replaces control characters, which a terminal would obey: ids, models and messages
// come from files and providers.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.C, r) {
			return '?'
		}
		return r
	}, text)
}
