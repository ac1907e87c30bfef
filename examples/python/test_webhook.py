"""Stripe's webhooks in any order, each delivered three times at once, against the service at `BILLING_TARGET`."""

import itertools
import logging
import os
import random
import unittest
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import payout
import stripe_events
import webhook
from billing.v1 import billing_pb2
from billing_client import Client, Refused, connect
from stripe_events import Deposit

TARGET = os.environ.get("BILLING_TARGET")
MICRO_USD_PER_CENT = webhook.MICRO_USD_PER_CENT
ORDERS = 40
AT_ONCE = 16
DELIVERIES = 3
ROUNDS_MAX = 10


@unittest.skipUnless(TARGET, "there is no service: set BILLING_TARGET")
class WebhookTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        channel = connect(TARGET)
        cls.addClassCleanup(channel.close)
        cls.client = Client(channel)
        cls.deliveries = cls.enterClassContext(ThreadPoolExecutor(AT_ONCE * DELIVERIES))
        logging.getLogger().setLevel(logging.CRITICAL)

    def account(self) -> tuple[str, str]:
        """A new account, and the end of the ids that belong to it."""
        name = uuid.uuid4().hex[:12]
        return f"account-{name}", name

    def deliver(self, events: list[dict]) -> None:
        """In this order, each three times at once; then those again that were answered with an error, as Stripe does, until
        none is."""
        due = events
        for _ in range(ROUNDS_MAX):
            due = [event for event in due if not self.is_taken(event)]
            if not due:
                return
        self.fail(f"never taken: {due}")

    def is_taken(self, event: dict) -> bool:
        statuses = self.deliveries.map(webhook.handle, [self.client] * DELIVERIES, [event] * DELIVERIES)
        return set(statuses) == {200}

    def in_orders(self, orders: Iterable, check: Callable[[tuple], None]) -> None:
        """Checks each order, on an account of its own; some at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(check, orders))

    def earn(self, account: str, cents: int) -> None:
        self.client.call(
            "Credit",
            billing_pb2.CreditRequest(
                idempotency_key="earned",
                account_id=account,
                amount_micro_usd=cents * MICRO_USD_PER_CENT,
                entry_type=billing_pb2.ENTRY_TYPE_EARNING,
            ),
        )

    def spend(self, account: str, cents: int) -> None:
        request = billing_pb2.ChargeRequest(
            idempotency_key="spent", account_id=account, amount_micro_usd=cents * MICRO_USD_PER_CENT
        )
        self.client.call("Charge", request)

    def balance(self, account: str) -> tuple[int, int]:
        """What is posted and what can be withdrawn, in cents."""
        found = self.client.call("GetAccount", billing_pb2.GetAccountRequest(account_id=account)).account.balance
        return found.posted_micro_usd // MICRO_USD_PER_CENT, found.withdrawable_micro_usd // MICRO_USD_PER_CENT

    def test_a_deposit_is_credited_once_whichever_of_its_events_comes_first(self):
        for order in itertools.permutations(range(3)):
            account, name = self.account()
            deposit = Deposit(account, name, 1_000)
            events = [deposit.session(), deposit.intent_succeeded(), deposit.charge_succeeded()]
            self.deliver([events[place] for place in order])
            self.assertEqual(self.balance(account), (1_000, 0), order)
            for name in (f"cs_{name}", deposit.intent, deposit.charge):
                found = self.client.call("FindPayment", billing_pb2.FindPaymentRequest(external_id=name))
                self.assertEqual(found.entry.sequence, 1)

    def test_refunds_and_a_dispute_take_what_they_say_in_any_order(self):
        def check(case: tuple) -> None:
            (status, left), order = case
            account, name = self.account()
            deposit = Deposit(account, name, 1_000)
            events = [
                deposit.session(),
                deposit.refund(1, 150),
                deposit.refund(2, 150),
                deposit.dispute(700),
                deposit.dispute(700, "charge.dispute.closed", status),
            ]
            self.deliver([events[place] for place in order])
            self.assertEqual(self.balance(account), (left, 0), case)

        ends = [("won", 700), ("lost", 0)]
        self.in_orders(itertools.product(ends, itertools.permutations(range(5))), check)

    def test_a_refund_that_fails_gives_back_what_it_took_in_any_order(self):
        def check(order: tuple) -> None:
            account, name = self.account()
            deposit = Deposit(account, name, 1_000)
            events = [
                deposit.session(),
                deposit.refund(1, 400, "refund.created", "pending"),
                deposit.refund(1, 400, "refund.updated", "pending"),
                deposit.refund(1, 400, "refund.failed", "failed"),
            ]
            self.deliver([events[place] for place in order])
            self.assertEqual(self.balance(account), (1_000, 0), order)

        self.in_orders(itertools.permutations(range(4)), check)

    def test_an_inquiry_takes_nothing(self):
        account, name = self.account()
        deposit = Deposit(account, name, 1_000)
        opened = deposit.dispute(1_000, "charge.dispute.created", "warning_needs_response")
        closed = deposit.dispute(1_000, "charge.dispute.closed", "warning_closed")
        self.deliver([closed, opened, deposit.session()])
        self.assertEqual(self.balance(account), (1_000, 0))

    def test_a_dispute_of_money_that_is_spent_is_a_debt_until_it_is_won(self):
        account, name = self.account()
        deposit = Deposit(account, name, 1_000)
        self.deliver([deposit.session()])
        self.spend(account, 900)
        self.deliver([deposit.dispute(1_000)])
        self.assertEqual(self.balance(account), (-900, 0))
        self.deliver([deposit.dispute(1_000, "charge.dispute.closed", "won")])
        self.assertEqual(self.balance(account), (100, 0))

    def test_a_dispute_of_more_than_refunds_have_left_takes_what_is_left_and_gives_that_back(self):
        account, name = self.account()
        deposit = Deposit(account, name, 1_000)
        self.deliver([deposit.session(), deposit.refund(1, 300), deposit.dispute(1_000)])
        self.assertEqual(self.balance(account), (0, 0))
        self.deliver([deposit.dispute(1_000, "charge.dispute.closed", "won"), deposit.dispute(1_000)])
        self.assertEqual(self.balance(account), (700, 0))

    def test_a_refund_of_more_than_is_left_waits_for_a_person(self):
        account, name = self.account()
        deposit = Deposit(account, name, 1_000)
        self.deliver([deposit.session(), deposit.refund(1, 900)])
        for _ in range(3):
            self.assertEqual(webhook.handle(self.client, deposit.refund(2, 101)), 500)
        self.assertEqual(self.balance(account), (100, 0))

    def test_a_deposits_id_is_no_payout_and_a_payouts_no_deposit(self):
        account, name = self.account()
        deposit = Deposit(account, name, 1_000)
        self.deliver([deposit.session()])
        self.earn(account, 1_000)
        payout.run(self.client, account, f"payout-{name}", 1_000, lambda *_: None)
        for method, request in (
            ("Withdraw", billing_pb2.WithdrawRequest(external_ids=[deposit.intent])),
            (
                "Credit",
                billing_pb2.CreditRequest(
                    external_ids=[f"payout-{name}"], entry_type=billing_pb2.ENTRY_TYPE_DEPOSIT
                ),
            ),
        ):
            request.idempotency_key, request.account_id = f"confused-{method}", account
            request.amount_micro_usd = 1_000 * MICRO_USD_PER_CENT
            with self.assertRaises(Refused) as caught:
                self.client.call(method, request)
            self.assertEqual(caught.exception.reason, "EXTERNAL_ID_CONFLICT")
            self.assertEqual(caught.exception.metadata["conflict"], "method")

    def test_a_payout_that_has_come_back_is_not_sent_again(self):
        account, name = self.account()
        self.earn(account, 1_000)
        sent = []
        for is_sent in (True, True):  # the worker has died, and begins anew: Stripe knows the key
            run = payout.run(self.client, account, f"payout-{name}", 600, lambda *what: sent.append(what))
            self.assertEqual(run, is_sent)
        self.assertEqual(sent[0], sent[1])
        _, _, metadata = sent[0]
        entry = self.client.call("FindPayment", billing_pb2.FindPaymentRequest(external_id=f"payout-{name}")).entry
        for _ in range(2):
            payout.name(self.client, entry, f"po_{name}")
        self.assertEqual(self.balance(account), (400, 400))
        self.deliver(
            [
                stripe_events.payout(name, 600, metadata, "payout.paid"),
                stripe_events.payout(name, 600, metadata, "payout.failed"),
            ]
        )
        self.assertEqual(self.balance(account), (1_000, 1_000))
        self.assertFalse(payout.run(self.client, account, f"payout-{name}", 600, lambda *_: self.fail("sent")))
        found = self.client.call("FindPayment", billing_pb2.FindPaymentRequest(external_id=f"po_{name}"))
        self.assertEqual(found.entry.sequence, entry.sequence)

    def test_everything_at_once_comes_to_the_same_in_any_order(self):
        def check(order: list[int]) -> None:
            account, name = self.account()
            self.earn(account, 2_000)
            metadata = {}
            for kind, cents in (("failed", 500), ("reversed", 600)):
                key = f"payout-{name}-{kind}"
                send = lambda _, __, sent, kind=kind: metadata.update({kind: sent})  # noqa: E731
                self.assertTrue(payout.run(self.client, account, key, cents, send))
            self.spend(account, 900)  # what is left of the earnings, so that only what comes back can be withdrawn
            self.assertEqual(self.balance(account), (0, 0))
            deposit = Deposit(account, name, 1_000)
            events = [
                deposit.session(),
                deposit.intent_succeeded(),
                deposit.charge_succeeded(),
                deposit.charge_refunded(),
                deposit.refund(1, 100),
                deposit.refund(2, 100, "refund.created", "pending"),
                deposit.refund(2, 100, "refund.updated", "succeeded"),
                deposit.refund(3, 50, "refund.created", "pending"),
                deposit.refund(3, 50, "refund.failed", "failed"),
                deposit.dispute(700),
                deposit.dispute(700, "charge.dispute.funds_withdrawn"),
                deposit.dispute(700, "charge.dispute.updated", "under_review"),
                deposit.dispute(700, "charge.dispute.closed", "won"),
                deposit.dispute(700, "charge.dispute.funds_reinstated", "won"),
                stripe_events.payout(name, 500, metadata["failed"], "payout.paid"),
                stripe_events.payout(name, 500, metadata["failed"], "payout.failed"),
                stripe_events.transfer_reversed(name, 600, metadata["reversed"], [100]),
                stripe_events.transfer_reversed(name, 600, metadata["reversed"], [100, 200]),
            ]
            self.deliver([events[place] for place in order])
            # The deposit less two refunds; a payout that failed, and what came back of another.
            self.assertEqual(self.balance(account), (800 + 800, 800), order)

        chance = random.Random(20261126)
        self.in_orders([chance.sample(range(18), 18) for _ in range(ORDERS)], check)


if __name__ == "__main__":
    unittest.main()
