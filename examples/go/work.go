package main

import pb "example.com/billing/billingv1"

// answered is what every operation is answered with.
type answered interface {
	GetReplayed() bool
	GetSince() *pb.Since
}

// workIsDue says whether to do the work that an operation pays for. After a replay only if nothing of the operation has been
// given back, and its reservation, if it is about one, is still open.
func workIsDue(answer answered) bool {
	if !answer.GetReplayed() {
		return true
	}
	since := answer.GetSince()
	reservation := since.GetReservation()
	hasEnded := reservation != nil && reservation.GetState() != pb.ReservationState_RESERVATION_STATE_OPEN
	return since.GetUndoneMicroUsd() == 0 && !hasEnded
}
