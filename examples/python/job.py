"""A job: holds money, works while it renews its lease and raises its hold, then captures what was used. It works
neither for nothing nor twice: only while its reservation is open."""

from collections.abc import Callable, Iterable

from billing.v1 import billing_pb2
from billing_client import Client, work_is_due
from google.protobuf import duration_pb2

# How long the hold outlives a worker that died.
LEASE = duration_pb2.Duration(seconds=60)


def run(
    client: Client,
    account: str,
    job: str,
    estimate: int,
    parts: Iterable[int],
    legs: Callable[[int], list[billing_pb2.Leg]] = lambda price: [],
) -> billing_pb2.CaptureResponse | None:
    """Runs a job whose parts cost so many micro-USD each. May be run again under its name after a crash: the keys are the
    same then, as long as the parts are. `legs` says who is paid out of its price: `settlement.legs`. None if the job had ended
    before: it was captured, released or too late."""
    names = {"account_id": account, "reservation_id": job}
    reserved = client.call(
        "Reserve",
        billing_pb2.ReserveRequest(idempotency_key=job, account_id=account, amount_micro_usd=estimate, ttl=LEASE),
    )
    if not work_is_due(reserved):
        return None
    held, used = estimate, 0
    try:
        for number, cost in enumerate(parts, 1):
            used += cost
            more = max(0, used - held)
            # After each part. With many short ones, do it by the clock instead, at a third of the lease.
            client.call(
                "ExtendReservation",
                billing_pb2.ExtendReservationRequest(
                    idempotency_key=f"{job}-extend-{number}",
                    additional_amount_micro_usd=more,
                    ttl=LEASE,
                    expiry_policy=billing_pb2.EXPIRY_POLICY_CAPTURE,  # work was done: who dies now does not give it away
                    **names,
                ),
            )
            held += more
    except Exception:
        if used == 0:
            client.call("Release", billing_pb2.ReleaseRequest(idempotency_key=f"{job}-release", **names))
        raise  # with something used, the hold stays until this runs again, or is charged at the end of its lease
    return client.call(
        "Capture",
        billing_pb2.CaptureRequest(
            idempotency_key=f"{job}-capture",
            amount_micro_usd=used,
            shortfall_policy=billing_pb2.SHORTFALL_POLICY_COLLECT_AVAILABLE,
            legs=legs(used),
            **names,
        ),
    )


def refund(
    client: Client, account: str, job: str, micro_usd: int, legs: billing_pb2.LegsPolicy
) -> billing_pb2.RefundResponse:
    """Gives back a part of what a job was charged, once for each job. `legs` says whether those who were paid out of it keep their
    part, or it is taken back. A second refund would need a name of its own."""
    return client.call(
        "Refund",
        billing_pb2.RefundRequest(
            idempotency_key=f"refund-{job}",
            account_id=account,
            amount_micro_usd=micro_usd,
            charge_idempotency_key=f"{job}-capture",
            legs=legs,
        ),
    )
