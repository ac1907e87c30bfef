package main

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/status"

	pb "example.com/billing/billingv1"
)

// result is what became of one operation of a list: that it was applied, or an error as of retry.
type result struct {
	applied *pb.Applied
	err     error
}

// apply carries out up to 500 operations, each by itself, and sends those again whose outcome is not known, with the same keys,
// until ctx ends. The results are in the order of the operations.
func apply(ctx context.Context, client pb.BillingServiceClient, operations []*pb.Operation) []result {
	results := make([]result, len(operations))
	isUnknown := make([]bool, len(operations))
	open := make([]int, len(operations))
	for i := range operations {
		open[i] = i
	}
	for number := 0; len(open) > 0; number++ {
		request := &pb.ApplyRequest{}
		for _, i := range open {
			request.Operations = append(request.Operations, operations[i])
		}
		var answer *pb.ApplyResponse
		tries := 0
		err := retry(ctx, func(ctx context.Context) (err error) {
			tries++
			answer, err = client.Apply(ctx, request)
			return err
		})
		if err == nil && len(answer.GetResults()) != len(open) {
			err = &Unsettled{errors.New("the list was not answered whole")}
		}
		if err != nil {
			for _, i := range open {
				results[i].err = final(err, isUnknown[i])
			}
			return results
		}
		var longest time.Duration
		var again []int
		for n, i := range open {
			isUnknown[i] = isUnknown[i] || tries > 1 // an earlier try may have been carried out
			one := answer.GetResults()[n]
			err := status.ErrorProto(one.GetError())
			switch meaning(err) {
			case nothingDone, unknown:
				isUnknown[i] = isUnknown[i] || meaning(err) == unknown
				again = append(again, i)
				results[i] = result{err: &Unsettled{err}}
				if p := pause(number, err); p > longest {
					longest = p
				}
			default:
				results[i] = result{one.GetApplied(), final(err, isUnknown[i])}
			}
		}
		open = again
		if len(open) > 0 && !wait(ctx, longest) {
			return results
		}
	}
	return results
}
