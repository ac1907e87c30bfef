// Package main charges an account of the billing ledger, and calls again, with the same key, until it is answered.
package main

import (
	"context"
	"fmt"
	"math/rand"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	tryTimeout   = 5 * time.Second
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// Unsettled says that no answer has settled a call in time. It may have been applied: make the same call later, with the
// same key.
type Unsettled struct{ Last error }

func (e *Unsettled) Error() string { return fmt.Sprintf("call again with the same key: %v", e.Last) }

func (e *Unsettled) Unwrap() error { return e.Last }

// What an error says of the operation.
const (
	settled     = iota // for ever, or until the request or the book changes; no error, too
	notLetIn           // the caller was turned away before its key was looked at
	nothingDone        // and it may be soon
	unknown            // it may have been done, or not
)

func meaning(err error) int {
	switch status.Code(err) {
	case codes.ResourceExhausted, codes.Aborted:
		return nothingDone
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.Canceled:
		return unknown
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
		return notLetIn
	default:
		return settled
	}
}

// retry makes a call until it is answered or ctx ends. An error that is not Unsettled is the service's own and final.
func retry(ctx context.Context, call func(context.Context) error) error {
	isUnknown := false
	for number := 0; ; number++ {
		err := try(ctx, call)
		switch meaning(err) {
		case settled, notLetIn:
			return final(err, isUnknown)
		case unknown:
			isUnknown = true
		}
		if !wait(ctx, pause(number, err)) {
			return &Unsettled{err}
		}
	}
}

// final is what an error means that no further try follows: who is turned away after a lost answer does not know the outcome.
func final(err error, isUnknown bool) error {
	if isUnknown && meaning(err) == notLetIn {
		return &Unsettled{err}
	}
	return err
}

// wait returns false if ctx ends first.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

func try(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return call(ctx)
}

// pause is what the service asks for, or longer with each try; half of the latter is left to chance.
func pause(number int, err error) time.Duration {
	half := longestPause / 2
	if number < 16 && firstPause<<number < longestPause {
		half = firstPause << number / 2
	}
	least := half
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().AsDuration() > least {
			least = info.GetRetryDelay().AsDuration()
		}
	}
	return least + time.Duration(rand.Int63n(int64(half)+1))
}
