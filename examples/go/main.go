package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc"

	pb "example.com/billing/billingv1"
)

// A copy of deploy/clients/service-config.json, made by ./build: Go embeds no file from outside of its directory.
//
//go:embed service-config.json
var serviceConfig string

// answerBytesMax is the size of the largest answer: that of a list of replays can be larger than gRPC accepts by default.
const answerBytesMax = 20 << 20

func main() {
	address := flag.String("address", "localhost:50051", "the service, such as dns:///billing-headless:50051")
	from := flag.Int("from", 0, "the first job's number")
	jobs := flag.Int("jobs", 1, "how many jobs to charge for")
	flag.Parse()
	// With TLS: credentials.NewTLS(...) instead, and a token by grpc.WithPerRPCCredentials.
	connection, err := grpc.Dial(*address, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)))
	if err != nil {
		log.Fatal(err) // also for a service config that is wrong
	}
	defer connection.Close()
	if err := run(pb.NewBillingServiceClient(connection), *from, *jobs); err != nil {
		log.Fatal(err)
	}
}

func run(client pb.BillingServiceClient, from, jobs int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for job := from; job < from+jobs; job++ {
		request := &pb.CreditRequest{
			IdempotencyKey: fmt.Sprintf("payment-for-job-%d", job),
			AccountId:      "go-example",
			AmountMicroUsd: 100,
			EntryType:      pb.EntryType_ENTRY_TYPE_DEPOSIT,
		}
		credit := func(ctx context.Context) error { _, err := client.Credit(ctx, request); return err }
		if err := retry(ctx, credit); err != nil {
			return err
		}
		if err := retry(ctx, func(ctx context.Context) error { return charge(ctx, client, job) }); err != nil {
			return err
		}
	}
	return nil
}

// charge takes money for a job, pays its provider and the platform out of it, then does it. Its key is the job's name, so calling
// again charges nothing more.
func charge(ctx context.Context, client pb.BillingServiceClient, job int) error {
	name := fmt.Sprintf("job-%d", job)
	answer, err := client.Charge(ctx, &pb.ChargeRequest{
		IdempotencyKey: name,
		AccountId:      "go-example",
		AmountMicroUsd: 60,
		Legs:           legs(name, 60, "go-provider"),
	})
	if err == nil && workIsDue(answer) {
		// The work itself goes here. It may have been begun before, by a process that died.
		fmt.Printf("job-%d: entry %d, replayed: %t\n", job, answer.GetEntry().GetSequence(), answer.GetReplayed())
	} else if err == nil {
		fmt.Printf("job-%d: was given back, so there is nothing to do\n", job)
	}
	return err
}
