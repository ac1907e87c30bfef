"""A sketch of the handler of Stripe's `checkout.session.completed`. Whoever calls it has verified the signature."""

import logging

from billing.v1 import billing_pb2
from billing_client import Client, Refused, Unsettled

MICRO_USD_PER_CENT = 10_000


def handle(client: Client, event: dict) -> int:
    """Credits the payment, and returns the status for Stripe: it delivers again unless that is 200."""
    session = event["data"]["object"]
    if session["payment_status"] != "paid":
        return 200  # another event will say when it is
    if session["currency"] != "usd":
        logging.error("a payment in %s: %s", session["currency"], session["id"])
        return 500
    try:
        client.call("Credit", credit_request(session))
    except Unsettled as why:
        logging.warning("%s is to be delivered again: %s", session["id"], why)
        return 503
    except Refused as why:  # EXTERNAL_ID_CONFLICT or a bug: a person must look, and Stripe will remind them
        logging.error("%s was paid and is not credited: %s %s", session["id"], why.reason, why)
        return 500
    return 200


def credit_request(session: dict) -> billing_pb2.CreditRequest:
    """The same for each delivery: made only of what was paid for. The key is the session, not the event's id."""
    return billing_pb2.CreditRequest(
        idempotency_key=f"stripe-{session['id']}",
        account_id=session["client_reference_id"],
        amount_micro_usd=session["amount_total"] * MICRO_USD_PER_CENT,
        entry_type=billing_pb2.ENTRY_TYPE_STRIPE_DEPOSIT,
        external_ids=filter(None, [session["id"], session.get("payment_intent")]),  # found by either: FindPayment
    )
