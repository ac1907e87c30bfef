package main

import "testing"

func TestSharesAreRoundedDownAndThePlatformGetsTheRest(t *testing.T) {
	parts := legs("job-1", 99, "provider")
	if len(parts) != 2 || parts[0].GetAmountMicroUsd() != 79 || parts[1].GetAmountMicroUsd() != 99 {
		t.Error(parts)
	}
}

func TestWhoGetsNothingHasNoLeg(t *testing.T) {
	if parts := legs("job-1", 1, "provider"); len(parts) != 1 || parts[0].GetAccountId() != "platform-6" {
		t.Error(parts)
	}
}

func TestAJobPaysTheSameAccountInEveryProcess(t *testing.T) {
	for job, want := range map[string]string{"job-1": "platform-6", "job-2": "platform-3", "job-4711": "platform-12"} {
		if account := spread("platform", job, 16); account != want {
			t.Errorf("%s pays %s", job, account)
		}
	}
}
