"""A payout: the money leaves the ledger first, then the bank account. If it does not arrive, a webhook brings it back."""

from collections.abc import Callable

from billing.v1 import billing_pb2
from billing_client import Client, work_is_due

MICRO_USD_PER_CENT = 10_000


def run(client: Client, account: str, payout: str, cents: int, send: Callable[[int, str, dict], None]) -> bool:
    """Pays out so much of what an account has earned. May be run again under its name after a crash. `send` makes the payout
    or transfer at Stripe: of so many cents, under an idempotency key, with metadata. False if it had come back before."""
    withdrawn = client.call(
        "Withdraw",
        billing_pb2.WithdrawRequest(
            idempotency_key=payout,
            account_id=account,
            amount_micro_usd=cents * MICRO_USD_PER_CENT,
            external_ids=[payout],  # Stripe's id becomes a further name, once it is known
        ),
    )
    if not work_is_due(withdrawn):
        return False
    send(cents, payout, {"account": account, "withdrawal": payout})
    return True


def name(client: Client, withdrawal: billing_pb2.Entry, stripe_id: str) -> None:
    """Adds Stripe's id to a withdrawal that was applied, so that `FindPayment` finds it. Moves no money."""
    client.call(
        "Withdraw",
        billing_pb2.WithdrawRequest(
            idempotency_key=f"stripe-{stripe_id}",
            account_id=withdrawal.account_id,
            amount_micro_usd=-withdrawal.amount_micro_usd,
            external_ids=[*withdrawal.external_ids, stripe_id],
        ),
    )
