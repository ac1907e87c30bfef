package main

import (
	"context"
	"errors"
	"testing"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "example.com/billing/billingv1"
)

// fake answers in turn: with the code of the call, or else with those of its operations. The last answer is given for ever.
type fake struct {
	pb.BillingServiceClient
	answers []answer
	tries   []string
}

type answer struct {
	call  codes.Code
	parts []codes.Code
}

func (f *fake) Apply(_ context.Context, request *pb.ApplyRequest, _ ...grpc.CallOption) (*pb.ApplyResponse, error) {
	keys := ""
	for _, operation := range request.GetOperations() {
		keys += operation.GetCharge().GetIdempotencyKey()
	}
	f.tries = append(f.tries, keys)
	now := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	if now.call != codes.OK {
		return nil, status.Error(now.call, "x")
	}
	response := &pb.ApplyResponse{}
	for _, code := range now.parts {
		one := &pb.Result{Result: &pb.Result_Applied{Applied: &pb.Applied{}}}
		if code != codes.OK {
			one.Result = &pb.Result_Error{Error: &spb.Status{Code: int32(code), Message: "x"}}
		}
		response.Results = append(response.Results, one)
	}
	return response, nil
}

// sent sends operations a, b and c.
func sent(t *testing.T, patience time.Duration, answers ...answer) ([]string, []result) {
	var operations []*pb.Operation
	for _, key := range []string{"a", "b", "c"} {
		charge := &pb.ChargeRequest{IdempotencyKey: key}
		operations = append(operations, &pb.Operation{Operation: &pb.Operation_Charge{Charge: charge}})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := &fake{answers: answers}
	results := apply(ctx, client, operations)
	for i, one := range results {
		if (one.applied == nil) == (one.err == nil) {
			t.Errorf("%d is %v", i, one)
		}
	}
	return client.tries, results
}

func TestOnlyWhatIsNotSettledIsSentAgain(t *testing.T) {
	tries, results := sent(t, time.Minute,
		answer{parts: []codes.Code{codes.OK, codes.Unavailable, codes.FailedPrecondition}},
		answer{parts: []codes.Code{codes.Aborted}}, answer{parts: []codes.Code{codes.OK}})
	if len(tries) != 3 || tries[0] != "abc" || tries[1] != "b" || tries[2] != "b" {
		t.Errorf("tries %v", tries)
	}
	if results[0].err != nil || results[1].err != nil || status.Code(results[2].err) != codes.FailedPrecondition {
		t.Errorf("results %v", results)
	}
}

func TestAListWithoutAnAnswerIsSentAgainWhole(t *testing.T) {
	tries, results := sent(t, time.Minute, answer{call: codes.Internal},
		answer{parts: []codes.Code{codes.OK, codes.OK, codes.OK}})
	if len(tries) != 2 || tries[0] != "abc" || tries[1] != "abc" || results[2].err != nil {
		t.Errorf("tries %v, results %v", tries, results)
	}
}

func TestWhoIsTurnedAwayKnowsTheOutcomeOnlyOfWhatWasNotBegun(t *testing.T) {
	_, results := sent(t, time.Minute,
		answer{parts: []codes.Code{codes.OK, codes.Internal, codes.ResourceExhausted}},
		answer{call: codes.Unauthenticated})
	var unsettled *Unsettled
	if results[0].err != nil || !errors.As(results[1].err, &unsettled) ||
		status.Code(results[2].err) != codes.Unauthenticated {
		t.Errorf("results %v", results)
	}
}

func TestWhatIsNeverAnsweredIsGivenUpAtTheDeadline(t *testing.T) {
	tries, results := sent(t, 200*time.Millisecond,
		answer{parts: []codes.Code{codes.OK, codes.OK, codes.Unavailable}},
		answer{parts: []codes.Code{codes.Unavailable}})
	var unsettled *Unsettled
	if len(tries) < 2 || !errors.As(results[2].err, &unsettled) {
		t.Errorf("tries %v, results %v", tries, results)
	}
}
