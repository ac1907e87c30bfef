"""Bodies of Stripe's webhooks, with made-up ids, and as much of them as `webhook.py` reads."""


def event(kind: str, thing: dict, **changes) -> dict:
    return {"type": kind, "data": {"object": thing | changes}}


class Deposit:
    """The events of one payment of `cents`, of its refunds and its disputes. Its ids end in `name`."""

    def __init__(self, account: str, name: str, cents: int):
        self.intent, self.charge = f"pi_{name}", f"ch_{name}"
        self.name, self.cents, self.account = name, cents, account
        self.common = {"currency": "usd", "metadata": {"account": account}}
        # What has to do with the charge does not have its metadata.
        self.of_charge = {"currency": "usd", "metadata": {}, "charge": self.charge, "payment_intent": self.intent}

    def session(self) -> dict:
        session = {
            "id": f"cs_{self.name}",
            "object": "checkout.session",
            "payment_intent": self.intent,
            "client_reference_id": self.account,
            "amount_total": self.cents,
            "currency": "usd",
            "metadata": {},
            "payment_status": "paid",
        }
        return event("checkout.session.completed", session)

    def intent_succeeded(self) -> dict:
        names = {"id": self.intent, "object": "payment_intent", "latest_charge": self.charge}
        return event("payment_intent.succeeded", names | self.common, amount_received=self.cents, status="succeeded")

    def charge_succeeded(self) -> dict:
        names = {"id": self.charge, "object": "charge", "payment_intent": self.intent}
        return event("charge.succeeded", names | self.common, amount_captured=self.cents, captured=True)

    def charge_refunded(self) -> dict:
        """It names no refund: the list of them is not part of it."""
        names = {"id": self.charge, "object": "charge", "payment_intent": self.intent, "refunded": False}
        return event("charge.refunded", names | self.common, amount_captured=self.cents, captured=True)

    def refund(self, number: int, cents: int, kind: str = "refund.created", status: str = "succeeded") -> dict:
        names = {"id": f"re_{self.name}_{number}", "object": "refund"}
        return event(kind, names | self.of_charge, amount=cents, status=status)

    def dispute(self, cents: int, kind: str = "charge.dispute.created", status: str = "needs_response") -> dict:
        names = {"id": f"dp_{self.name}", "object": "dispute", "reason": "fraudulent"}
        return event(kind, names | self.of_charge, amount=cents, status=status)


def payout(name: str, cents: int, metadata: dict, kind: str = "payout.failed") -> dict:
    thing = {"id": f"po_{name}", "object": "payout", "currency": "usd", "metadata": metadata, "amount": cents}
    return event(kind, thing, status=kind.removeprefix("payout."))


def transfer_reversed(name: str, cents: int, metadata: dict, reversed_cents: list[int]) -> dict:
    """After so many reversals, of which the event has all."""
    thing = {"id": f"tr_{name}", "object": "transfer", "currency": "usd", "metadata": metadata, "amount": cents}
    numbered = enumerate(reversed_cents, 1)
    data = [{"id": f"trr_{name}_{number}", "amount": amount} for number, amount in numbered]
    return event("transfer.reversed", thing, reversals={"data": data, "has_more": False})
