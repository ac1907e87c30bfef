package main

import (
	"testing"

	pb "example.com/billing/billingv1"
)

func TestWorkIsDueUntilSomethingWasGivenBack(t *testing.T) {
	if !workIsDue(&pb.ChargeResponse{}) {
		t.Error("a new charge")
	}
	for undone, want := range map[int64]bool{0: true, 1: false} {
		since := &pb.Since{UndoneMicroUsd: undone}
		for _, answer := range []answered{
			&pb.ChargeResponse{Replayed: true, Since: since},
			&pb.WithdrawResponse{Replayed: true, Since: since},
		} {
			if workIsDue(answer) != want {
				t.Errorf("%d undone: %T", undone, answer)
			}
		}
	}
}

func TestWorkIsDueWhileTheReservationIsOpen(t *testing.T) {
	for state, want := range map[pb.ReservationState]bool{
		pb.ReservationState_RESERVATION_STATE_OPEN:     true,
		pb.ReservationState_RESERVATION_STATE_CAPTURED: false,
		pb.ReservationState_RESERVATION_STATE_RELEASED: false,
		pb.ReservationState_RESERVATION_STATE_EXPIRED:  false,
	} {
		since := &pb.Since{Reservation: &pb.Reservation{State: state}}
		if workIsDue(&pb.ReserveResponse{Replayed: true, Since: since}) != want {
			t.Errorf("%v", state)
		}
	}
}
