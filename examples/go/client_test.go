package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golang/protobuf/ptypes/duration"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// calls answers in turn with codes, and counts.
func calls(count *int, answers ...codes.Code) func(context.Context) error {
	return func(context.Context) error {
		*count++
		return status.Error(answers[min(*count, len(answers))-1], "x")
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func TestWhatMayPassIsCalledAgain(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.Canceled, codes.Unknown, codes.Internal, codes.Aborted,
		codes.ResourceExhausted, codes.DeadlineExceeded} {
		count := 0
		if err := retry(context.Background(), calls(&count, code, code, codes.OK)); err != nil || count != 3 {
			t.Errorf("%v: %v after %d calls", code, err, count)
		}
	}
}

func TestARefusalIsFinal(t *testing.T) {
	for _, code := range []codes.Code{codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound,
		codes.Unauthenticated} {
		count := 0
		if err := retry(context.Background(), calls(&count, code)); status.Code(err) != code || count != 1 {
			t.Errorf("%v: %v after %d calls", code, err, count)
		}
	}
}

func TestNotSettled(t *testing.T) {
	var unsettled *Unsettled
	count := 0
	if err := retry(context.Background(), calls(&count, codes.Unavailable, codes.Unauthenticated)); !errors.As(err, &unsettled) {
		t.Errorf("turned away after a lost answer: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := retry(ctx, calls(&count, codes.Unavailable)); !errors.As(err, &unsettled) {
		t.Errorf("at the deadline: %v", err)
	}
}

func TestPauses(t *testing.T) {
	for number, most := range map[int]time.Duration{0: firstPause, 2: 4 * firstPause, 9: longestPause, 99: longestPause} {
		if p := pause(number, status.Error(codes.Unavailable, "x")); p < most/2 || p > most {
			t.Errorf("pause %d: %v", number, p)
		}
	}
	asks, err := status.New(codes.ResourceExhausted, "x").WithDetails(&errdetails.RetryInfo{RetryDelay: &duration.Duration{Seconds: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if p := pause(0, asks.Err()); p < 7*time.Second || p > 8*time.Second {
		t.Errorf("the service asks for 7s: %v", p)
	}
}
