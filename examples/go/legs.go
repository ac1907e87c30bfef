package main

import (
	"fmt"
	"hash/fnv"

	pb "example.com/billing/billingv1"
)

const (
	// Of a price, in hundredths. The platform has the rest.
	providerPercent = 80
	// Over how many accounts the fees of the platform are spread.
	platformAccounts = 16
)

// legs says who is paid out of a job that costs so many micro-USD: the same whenever it is asked. Rounded here, once. The platform
// comes last and asks for all of it, so it gets what is left.
func legs(job string, price int64, provider string) []*pb.Leg {
	platform := &pb.Leg{
		AccountId:      spread("platform", job, platformAccounts),
		AmountMicroUsd: price,
		EntryType:      pb.EntryType_ENTRY_TYPE_FEE,
	}
	share := price * providerPercent / 100
	if share == 0 {
		return []*pb.Leg{platform}
	}
	earning := &pb.Leg{AccountId: provider, AmountMicroUsd: share, EntryType: pb.EntryType_ENTRY_TYPE_EARNING}
	return []*pb.Leg{earning, platform}
}

// spread is the one of so many accounts that a job pays, `<account>-<n>`. The same in every process and language (FNV-1a), since
// it is part of the request.
func spread(account, job string, accounts uint32) string {
	hash := fnv.New32a()
	hash.Write([]byte(job))
	return fmt.Sprintf("%s-%d", account, hash.Sum32()%accounts)
}
