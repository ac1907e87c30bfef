"""Promotions, against the service at `BILLING_TARGET`."""

import os
import time
import unittest
import uuid
from datetime import UTC, datetime, timedelta

import promotion
from billing.v1 import billing_pb2
from billing_client import Client, Refused, connect

TARGET = os.environ.get("BILLING_TARGET")
PATIENCE = timedelta(seconds=30)


@unittest.skipUnless(TARGET, "there is no service: set BILLING_TARGET")
class PromotionTest(unittest.TestCase):
    def setUp(self):
        channel = connect(TARGET)
        self.addCleanup(channel.close)
        self.client = Client(channel)
        self.account = f"account-{uuid.uuid4().hex[:12]}"

    def charge(self, key: str, micro_usd: int) -> billing_pb2.Entry:
        request = billing_pb2.ChargeRequest(
            idempotency_key=key, account_id=self.account, amount_micro_usd=micro_usd
        )
        return self.client.call("Charge", request).entry

    def available(self) -> int:
        found = self.client.call("GetAccount", billing_pb2.GetAccountRequest(account_id=self.account))
        return found.account.balance.available_micro_usd

    def test_what_expires_first_is_spent_first_and_a_repeated_promotion_grants_nothing(self):
        signed_up = datetime.now(UTC)
        first = promotion.grant(self.client, self.account, "welcome", 500, signed_up)
        promotion.grant(self.client, self.account, "summer", 300, signed_up + timedelta(days=1))
        self.assertEqual(promotion.grant(self.client, self.account, "welcome", 500, signed_up), first)
        with self.assertRaises(Refused) as caught:
            promotion.grant(self.client, self.account, "welcome", 500, datetime.now(UTC))
        self.assertEqual(caught.exception.reason, "IDEMPOTENCY_KEY_REUSED")

        drawn = [(draw.grant_sequence, draw.amount_micro_usd) for draw in self.charge("job-1", 600).draws]
        self.assertEqual(drawn, [(1, 500), (2, 100)])
        left = promotion.left(self.client, self.account)
        self.assertEqual(left, [(signed_up + timedelta(days=1) + promotion.VALID_FOR, 200)])
        self.assertEqual(self.available(), 200)

    def test_what_has_expired_is_gone(self):
        signed_up = datetime.now(UTC) - promotion.VALID_FOR + timedelta(seconds=3)
        promotion.grant(self.client, self.account, "welcome", 500, signed_up)
        self.charge("job-1", 200)
        end = datetime.now(UTC) + PATIENCE
        while self.available() > 0 and datetime.now(UTC) < end:
            time.sleep(0.2)
        self.assertEqual((self.available(), promotion.left(self.client, self.account)), (0, []))
        with self.assertRaises(Refused) as caught:
            self.charge("job-2", 1)
        self.assertEqual(caught.exception.reason, "INSUFFICIENT_FUNDS")
