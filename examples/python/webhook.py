"""A handler of Stripe's webhooks, from a deposit to its refunds and disputes, and of payouts that fail. Events may come in any
order, any number of times. Whoever calls it has verified the signature."""

import logging

import grpc
from billing.v1 import billing_pb2
from billing_client import Client, Refused, Unsettled

MICRO_USD_PER_CENT = 10_000
# The states of a dispute in which the bank has taken the money. An inquiry (`warning_…`) has taken nothing.
MONEY_IS_TAKEN = {"needs_response", "under_review", "lost", "won"}


def handle(client: Client, event: dict) -> int:
    """Does what an event tells, and returns the status for Stripe: it delivers again unless that is 200."""
    thing = event["data"]["object"]
    take = HANDLERS.get(event["type"])
    if take is None:
        return 200
    if thing["currency"] != "usd":
        logging.error("%s is in %s", thing["id"], thing["currency"])
        return 500
    try:
        take(client, thing)
    except Unsettled as why:
        logging.warning("%s is to be delivered again: %s", thing["id"], why)
        return 503
    except Refused as why:
        if why.code == grpc.StatusCode.NOT_FOUND:  # not remembered: it came before what it undoes
            logging.info("%s is early: %s", thing["id"], why)
            return 503
        # EXTERNAL_ID_CONFLICT or a bug: a person must look, and Stripe will remind them.
        logging.error("%s is not in the ledger: %s %s", thing["id"], why.reason, why)
        return 500
    return 200


def paid(client: Client, thing: dict) -> None:
    """A session, a payment intent or a charge: whichever comes first is the credit, the others are replays of it."""
    if thing.get("payment_status", "paid") == "paid" and thing.get("captured", True):
        client.call("Credit", credit_request(thing))  # if not, another event will say when it is


def credit_request(thing: dict) -> billing_pb2.CreditRequest:
    """The same for each delivery: made only of what was paid for. The key is the object, not the event's id."""
    amount, other_name = {
        "checkout.session": ("amount_total", "payment_intent"),
        "payment_intent": ("amount_received", "latest_charge"),
        "charge": ("amount_captured", "payment_intent"),
    }[thing["object"]]
    return billing_pb2.CreditRequest(
        idempotency_key=f"stripe-{thing['id']}",
        # Set `client_reference_id` of the session, and `payment_intent_data.metadata`, which its charge gets as well.
        account_id=thing.get("client_reference_id") or thing["metadata"]["account"],
        amount_micro_usd=thing[amount] * MICRO_USD_PER_CENT,
        entry_type=billing_pb2.ENTRY_TYPE_STRIPE_DEPOSIT,
        external_ids=filter(None, [thing["id"], thing.get(other_name)]),  # found by either: FindPayment
    )


def refunded(client: Client, refund: dict) -> None:
    """The money leaves when a refund is made, and comes back if it fails."""
    reversal = client.call("Reverse", reverse_request(client, refund)).entry
    if refund["status"] in ("failed", "canceled"):
        reinstate(client, reversal, refund)


def disputed(client: Client, dispute: dict) -> None:
    """The bank takes the money when a dispute is opened, and gives it back if it is won."""
    if dispute["status"] not in MONEY_IS_TAKEN:
        return
    reversal = reverse_up_to_all(client, reverse_request(client, dispute))
    if dispute["status"] == "won":
        reinstate(client, reversal, dispute)


def reverse_request(client: Client, thing: dict) -> billing_pb2.ReverseRequest:
    """Takes back a part of a payment. Stripe names the payment, and the ledger knows whose it is."""
    payment = thing.get("payment_intent") or thing["charge"]
    found = client.call("FindPayment", billing_pb2.FindPaymentRequest(external_id=payment))
    return billing_pb2.ReverseRequest(
        idempotency_key=f"stripe-{thing['id']}",
        account_id=found.entry.account_id,
        credit_external_id=payment,
        amount_micro_usd=thing["amount"] * MICRO_USD_PER_CENT,
        external_ids=[thing["id"]],
        reason=f"{thing['object']} {thing['id']}",
        shortfall_policy=billing_pb2.SHORTFALL_POLICY_ALLOW_DEBT,  # the money is gone, whatever the customer has left
    )


def reverse_up_to_all(client: Client, request: billing_pb2.ReverseRequest) -> billing_pb2.Entry:
    """A bank may take more than is left after refunds. The customer loses what is left; the rest is the operator's loss."""
    try:
        return client.call("Reverse", request).entry
    except Refused as why:
        left = int(why.metadata.get("reversible_micro_usd", 0))
        if why.reason != "REVERSAL_EXCEEDS_CREDIT" or left == 0:
            raise
    rest = billing_pb2.ReverseRequest()
    rest.CopyFrom(request)
    rest.idempotency_key, rest.amount_micro_usd = f"{request.idempotency_key}-{left}", left
    return reverse_up_to_all(client, rest)


def reinstate(client: Client, reversal: billing_pb2.Entry, thing: dict) -> None:
    """Gives back all that a reversal took."""
    client.call(
        "Refund",
        billing_pb2.RefundRequest(
            idempotency_key=f"stripe-{thing['id']}-reinstated",
            account_id=reversal.account_id,
            charge_external_id=thing["id"],
            amount_micro_usd=-reversal.amount_micro_usd,
        ),
    )


def payout_failed(client: Client, payout: dict) -> None:
    """A payout may fail after it was paid."""
    restore(client, payout, payout["id"], payout["amount"])


def transfer_reversed(client: Client, transfer: dict) -> None:
    """The event lists all reversals of the transfer so far, up to ten."""
    if transfer["reversals"]["has_more"]:
        raise NotImplementedError(f"ask Stripe for the other reversals of {transfer['id']}")
    for reversal in transfer["reversals"]["data"]:
        restore(client, transfer, reversal["id"], reversal["amount"])


def restore(client: Client, thing: dict, name: str, cents: int) -> None:
    """Gives back a withdrawal. Its key is in what was sent, as `payout.py` does it."""
    names = thing["metadata"]
    if "withdrawal" not in names:
        return  # not of an account of the ledger
    client.call(
        "Refund",
        billing_pb2.RefundRequest(
            idempotency_key=f"stripe-{name}-returned",
            account_id=names["account"],
            charge_idempotency_key=names["withdrawal"],
            amount_micro_usd=cents * MICRO_USD_PER_CENT,
        ),
    )


# `charge.refunded` and `payout.paid` are not here: the first names no refund, and the second changes nothing.
HANDLERS = {
    "checkout.session.completed": paid,
    "checkout.session.async_payment_succeeded": paid,
    "payment_intent.succeeded": paid,
    "charge.succeeded": paid,
    "charge.captured": paid,
    "refund.created": refunded,
    "refund.updated": refunded,
    "refund.failed": refunded,
    "charge.dispute.created": disputed,
    "charge.dispute.updated": disputed,
    "charge.dispute.closed": disputed,
    "charge.dispute.funds_withdrawn": disputed,
    "charge.dispute.funds_reinstated": disputed,
    "payout.failed": payout_failed,
    "payout.canceled": payout_failed,
    "transfer.reversed": transfer_reversed,
}
