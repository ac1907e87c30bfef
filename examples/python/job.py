"""A job: holds money, works while it renews its lease and raises its hold, then captures what was used."""

from collections.abc import Iterable

from billing.v1 import billing_pb2
from billing_client import Client
from google.protobuf import duration_pb2

# How long the hold outlives a worker that died.
LEASE = duration_pb2.Duration(seconds=60)


def run(client: Client, account: str, job: str, estimate: int, parts: Iterable[int]) -> billing_pb2.CaptureResponse:
    """Runs a job whose parts cost so many micro-USD each. May be run again under its name after a crash: the keys are the
    same then, as long as the parts are."""
    names = {"account_id": account, "reservation_id": job}
    client.call(
        "Reserve",
        billing_pb2.ReserveRequest(idempotency_key=job, account_id=account, amount_micro_usd=estimate, ttl=LEASE),
    )
    held, used = estimate, 0
    try:
        for number, cost in enumerate(parts, 1):
            used += cost
            more = max(0, used - held)
            # After each part. With many short ones, do it by the clock instead, at a third of the lease.
            client.call(
                "ExtendReservation",
                billing_pb2.ExtendReservationRequest(
                    idempotency_key=f"{job}-extend-{number}", additional_amount_micro_usd=more, ttl=LEASE, **names
                ),
            )
            held += more
    except Exception:
        if used == 0:
            client.call("Release", billing_pb2.ReleaseRequest(idempotency_key=f"{job}-release", **names))
        raise  # with something used, the hold stays until this runs again or its lease runs out
    return client.call(
        "Capture",
        billing_pb2.CaptureRequest(
            idempotency_key=f"{job}-capture",
            amount_micro_usd=used,
            overage_policy=billing_pb2.OVERAGE_POLICY_COLLECT_AVAILABLE,
            **names,
        ),
    )


def refund(client: Client, account: str, job: str, micro_usd: int) -> billing_pb2.RefundResponse:
    """Gives back a part of what a job was charged, once for each job. A second refund would need a name of its own."""
    return client.call(
        "Refund",
        billing_pb2.RefundRequest(
            idempotency_key=f"refund-{job}",
            account_id=account,
            amount_micro_usd=micro_usd,
            charge_idempotency_key=f"{job}-capture",
        ),
    )
