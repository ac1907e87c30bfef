"""What the client does, against a service of its own that answers as it is told."""

import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import billing_client
import grpc
import job
import settlement
import webhook
from billing.v1 import billing_pb2, billing_pb2_grpc
from billing_client import Client, Refused, Unsettled, connect, work_is_due
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from load import payment

REQUEST = billing_pb2.ChargeRequest(idempotency_key="job-1", account_id="ann", amount_micro_usd=1)


class Fake(billing_pb2_grpc.BillingServiceServicer):
    """Answers in turn with errors, then well. Keeps the requests."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.requests, self.times, self.deadlines, self.headers = [], [], [], []
        self.lock = threading.Lock()
        self.server = grpc.server(ThreadPoolExecutor(4))
        billing_pb2_grpc.add_BillingServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def Charge(self, request, context):  # noqa: N802, the name in the contract
        with self.lock:
            self.requests.append(request)
            self.times.append(time.monotonic())
            self.deadlines.append(context.time_remaining())
            self.headers.append(dict(context.invocation_metadata()))
            error = self.errors.pop(0) if self.errors else None
        self.may_answer.wait(20)
        if error:
            context.abort_with_status(rpc_status.to_status(error))
        return billing_pb2.ChargeResponse(replayed=len(self.requests) > 1)

    def Apply(self, request, context):  # noqa: N802, the name in the contract
        """Each answer is the error of the call, or a list of those of the operations: None for none."""
        self.requests.append([operation.charge.idempotency_key for operation in request.operations])
        answer = self.errors.pop(0) if self.errors else []
        if isinstance(answer, status_pb2.Status):
            context.abort_with_status(rpc_status.to_status(answer))
        answers = answer or [None] * len(request.operations)
        applied = billing_pb2.Result(applied=billing_pb2.Applied())
        return billing_pb2.ApplyResponse(
            results=[billing_pb2.Result(error=error) if error else applied for error in answers]
        )


def error(code: grpc.StatusCode, reason: str = "", delay: float | None = None) -> status_pb2.Status:
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="billing.v1")]
    if delay is not None:
        retry_delay = duration_pb2.Duration(nanos=int(delay * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=retry_delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message="x", details=packed)


class Serving(unittest.TestCase):
    def serve(self, *errors) -> Fake:
        fake = Fake(*errors)
        self.addCleanup(fake.server.stop, None)
        return fake

    def client(self, *fakes: Fake, **options) -> Client:
        channel = connect("ipv4:" + ",".join(fake.address for fake in fakes))
        self.addCleanup(channel.close)
        return Client(channel, **options)


class ClientTest(Serving):
    def test_the_service_config_tries_again_by_itself(self):
        fake = self.serve(*[error(grpc.StatusCode.UNAVAILABLE)] * 3)
        self.client(fake).stub.Charge(REQUEST)  # the plain stub
        self.assertEqual(fake.requests, [REQUEST] * 4)

    def test_the_service_config_leaves_other_codes_to_the_application(self):
        for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL):
            fake = self.serve(error(code))
            with self.assertRaises(grpc.RpcError):
                self.client(fake).stub.Charge(REQUEST)
            self.assertEqual(len(fake.requests), 1)

    def test_the_service_config_gives_each_call_a_deadline(self):
        fake = self.serve()
        fake.may_answer.clear()
        self.addCleanup(fake.may_answer.set)
        began = time.monotonic()
        with self.assertRaises(grpc.RpcError) as caught:
            self.client(fake).stub.Charge(REQUEST)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        waited = time.monotonic() - began
        self.assertTrue(2.5 < waited < 5.5, waited)  # up to two seconds early: grpc/grpc#34547

    def test_the_service_is_told_how_long_a_try_may_take(self):
        fake = self.serve()
        self.client(fake).call("Charge", REQUEST)
        self.client(fake, deadline=2.0).call("Charge", REQUEST)
        for seen, given in zip(fake.deadlines, (5.0, 2.0), strict=True):
            self.assertTrue(given - 1 < seen < given + 0.1, fake.deadlines)

    def test_a_service_config_that_is_wrong_is_refused(self):
        wrong = billing_client.SERVICE_CONFIG.read_text().replace('"5s"', '"soon"')
        channel = grpc.insecure_channel("127.0.0.1:1", [("grpc.service_config", wrong)])
        self.addCleanup(channel.close)
        with self.assertRaises(grpc.RpcError) as caught:
            Client(channel).stub.Charge(REQUEST)
        self.assertIn("errors validating service config", caught.exception.details())

    def test_the_service_config_spreads_calls_over_replicas(self):
        fakes = [self.serve(), self.serve()]
        client = self.client(*fakes)
        for _ in range(200):
            client.call("Charge", REQUEST)
        for fake in fakes:
            self.assertGreater(len(fake.requests), 50)

    def test_the_same_request_goes_out_until_it_is_answered(self):
        self.enterContext(patch.object(billing_client, "LONGEST_PAUSE_SECONDS", 0.05))
        for code in billing_client.NOTHING_DONE | billing_client.OUTCOME_UNKNOWN:
            fake = self.serve(*[error(code)] * 5)
            self.assertTrue(self.client(fake).call("Charge", REQUEST).replayed)
            self.assertEqual(fake.requests, [REQUEST] * 6)

    def test_the_service_says_how_long_to_wait(self):
        fake = self.serve(error(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", delay=0.4))
        self.client(fake).call("Charge", REQUEST)
        waited = fake.times[1] - fake.times[0]
        self.assertTrue(0.4 <= waited < 0.8, waited)

    def test_pauses_grow_and_differ(self):
        nothing_asked = patch.object(billing_client, "_detail", return_value=None)
        with nothing_asked:
            for number, longest in ((0, 0.05), (2, 0.2), (9, 2.0), (99, 2.0)):
                pauses = {billing_client.pause_seconds(number, None) for _ in range(100)}
                self.assertTrue(all(longest / 2 <= pause <= longest for pause in pauses), pauses)
                self.assertGreater(len(pauses), 1)

    def test_a_refusal_is_final(self):
        fake = self.serve(error(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"))
        with self.assertRaises(Refused) as caught:
            self.client(fake).call("Charge", REQUEST)
        self.assertEqual(caught.exception.reason, "INSUFFICIENT_FUNDS")
        self.assertEqual(len(fake.requests), 1)

    def test_who_is_turned_away_after_a_lost_answer_does_not_know_the_outcome(self):
        fake = self.serve(error(grpc.StatusCode.INTERNAL), error(grpc.StatusCode.UNAUTHENTICATED))
        with self.assertRaises(Unsettled):
            self.client(fake).call("Charge", REQUEST)
        fake = self.serve(error(grpc.StatusCode.ABORTED), error(grpc.StatusCode.UNAUTHENTICATED))
        with self.assertRaises(Refused):
            self.client(fake).call("Charge", REQUEST)

    def test_it_gives_up_at_its_deadline(self):
        fake = self.serve(*[error(grpc.StatusCode.ABORTED)] * 99)
        began = time.monotonic()
        with self.assertRaises(Unsettled):
            self.client(fake, deadline=0.5).call("Charge", REQUEST)
        self.assertLess(time.monotonic() - began, 0.6)
        self.assertGreater(len(fake.requests), 1)

    def test_a_token_goes_with_each_call(self):
        fake = self.serve()
        channel = connect(fake.address, token="billing_secret")
        self.addCleanup(channel.close)
        Client(channel).call("Charge", REQUEST)
        self.assertEqual(fake.headers[0]["authorization"], "Bearer billing_secret")


class ApplyTest(Serving):
    OPERATIONS = [
        billing_pb2.Operation(charge=billing_pb2.ChargeRequest(idempotency_key=key)) for key in ("a", "b", "c")
    ]

    def apply(self, *answers, **options) -> tuple[list, list]:
        """The keys of each try, and the kinds of the results."""
        fake = self.serve(*answers)
        results = self.client(fake, **options).apply(self.OPERATIONS)
        return fake.requests, [type(result) for result in results]

    def test_only_what_is_not_settled_is_sent_again(self):
        refused = error(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
        lost, overloaded = error(grpc.StatusCode.UNAVAILABLE), error(grpc.StatusCode.RESOURCE_EXHAUSTED)
        tries, kinds = self.apply([None, lost, refused], [overloaded])
        self.assertEqual(tries, [["a", "b", "c"], ["b"], ["b"]])
        self.assertEqual(kinds, [billing_pb2.Applied, billing_pb2.Applied, Refused])

    def test_a_refusal_of_one_says_why(self):
        refused = error(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
        results = self.client(self.serve([refused, None, None])).apply(self.OPERATIONS)
        self.assertEqual(results[0].reason, "INSUFFICIENT_FUNDS")

    def test_a_list_without_an_answer_is_sent_again_whole(self):
        tries, kinds = self.apply(error(grpc.StatusCode.INTERNAL))
        self.assertEqual(tries, [["a", "b", "c"]] * 2)
        self.assertEqual(kinds, [billing_pb2.Applied] * 3)

    def test_who_is_turned_away_knows_the_outcome_only_of_what_was_not_begun(self):
        lost, overloaded = error(grpc.StatusCode.INTERNAL), error(grpc.StatusCode.RESOURCE_EXHAUSTED)
        _, kinds = self.apply([None, lost, overloaded], error(grpc.StatusCode.UNAUTHENTICATED))
        self.assertEqual(kinds, [billing_pb2.Applied, Unsettled, Refused])

    def test_what_is_never_answered_is_given_up_at_the_deadline(self):
        lost = error(grpc.StatusCode.UNAVAILABLE)
        tries, kinds = self.apply([None, None, lost], *[[lost]] * 99, deadline=0.5)
        self.assertGreater(len(tries), 2)
        self.assertEqual(kinds, [billing_pb2.Applied, billing_pb2.Applied, Unsettled])


class WebhookTest(unittest.TestCase):
    def test_each_delivery_makes_the_same_request(self):
        session = payment("ann", "1")["data"]["object"]
        request = webhook.credit_request(session)
        self.assertEqual(request, webhook.credit_request(dict(session)))
        self.assertEqual(request.amount_micro_usd, 1_000_000)
        self.assertEqual(request.idempotency_key, "stripe-cs_1")
        self.assertEqual(request.external_ids, ["cs_1", "pi_1"])
        del session["payment_intent"]
        self.assertEqual(webhook.credit_request(session).external_ids, ["cs_1"])


class WorkTest(unittest.TestCase):
    ENDED = (
        billing_pb2.RESERVATION_STATE_CAPTURED,
        billing_pb2.RESERVATION_STATE_RELEASED,
        billing_pb2.RESERVATION_STATE_EXPIRED,
    )

    def test_work_is_due_until_something_was_given_back(self):
        self.assertTrue(work_is_due(billing_pb2.ChargeResponse()))
        for undone in (0, 1):
            since = billing_pb2.Since(undone_micro_usd=undone)
            for kind in (billing_pb2.ChargeResponse, billing_pb2.WithdrawResponse):
                self.assertEqual(work_is_due(kind(replayed=True, since=since)), undone == 0)

    def run_job(self, reserved: billing_pb2.ReserveResponse) -> tuple[list[int], list]:
        """The parts that were worked on, and the requests."""
        worked, requests = [], []

        def parts():
            for cost in (3, 4):
                worked.append(cost)
                yield cost

        class Answering:
            def call(self, method, request):
                requests.append(request)
                return reserved if method == "Reserve" else billing_pb2.CaptureResponse()

        job.run(Answering(), "ann", "job-1", 5, parts())
        return worked, requests

    def reserved_before(self, state: int) -> billing_pb2.ReserveResponse:
        since = billing_pb2.Since(reservation=billing_pb2.Reservation(state=state))
        return billing_pb2.ReserveResponse(replayed=True, since=since)

    def test_a_job_works_while_its_reservation_is_open(self):
        for reserved in (billing_pb2.ReserveResponse(), self.reserved_before(billing_pb2.RESERVATION_STATE_OPEN)):
            worked, requests = self.run_job(reserved)
            self.assertEqual((worked, len(requests)), ([3, 4], 4))

    def test_a_job_that_has_ended_is_not_worked_on_again(self):
        for state in self.ENDED:
            worked, requests = self.run_job(self.reserved_before(state))
            self.assertEqual((worked, len(requests)), ([], 1), state)

    def test_a_hold_for_work_that_was_done_is_charged_if_nobody_ends_it(self):
        _, (reserve, *extensions, _) = self.run_job(billing_pb2.ReserveResponse())
        self.assertEqual(reserve.expiry_policy, billing_pb2.EXPIRY_POLICY_UNSPECIFIED)
        for extension in extensions:
            self.assertEqual(extension.expiry_policy, billing_pb2.EXPIRY_POLICY_CAPTURE)

    def test_a_job_pays_out_of_what_it_used(self):
        requests = []

        class Answering:
            def call(self, method, request):
                requests.append(request)
                return billing_pb2.ReserveResponse()

        job.run(Answering(), "ann", "job-1", 5, (30, 70), lambda price: settlement.legs("job-1", price, "provider"))
        *_, capture = requests
        self.assertEqual([leg.amount_micro_usd for leg in capture.legs], [80, 100])
        job.refund(Answering(), "ann", "job-1", 10, billing_pb2.LEGS_POLICY_KEEP)
        self.assertEqual(requests[-1].legs, billing_pb2.LEGS_POLICY_KEEP)


class SettlementTest(unittest.TestCase):
    def paid(self, price: int, **payees) -> list[tuple]:
        legs = settlement.legs("job-1", price, "provider", **payees)
        return [(leg.account_id, leg.amount_micro_usd, leg.entry_type) for leg in legs]

    def test_shares_are_rounded_down_and_the_platform_gets_the_rest(self):
        self.assertEqual(
            self.paid(99, referrer="rita"),
            [
                ("provider", 79, billing_pb2.ENTRY_TYPE_EARNING),
                ("rita", 4, billing_pb2.ENTRY_TYPE_REFERRAL_REWARD),
                ("platform-6", 99, billing_pb2.ENTRY_TYPE_FEE),
            ],
        )

    def test_who_gets_nothing_has_no_leg(self):
        self.assertEqual([account for account, _, _ in self.paid(99)], ["provider", "platform-6"])
        self.assertEqual([account for account, _, _ in self.paid(1, referrer="rita")], ["platform-6"])

    def test_a_job_pays_the_same_account_in_every_process(self):
        accounts = [settlement.spread("platform", job, 16) for job in ("job-1", "job-2", "job-4711")]
        self.assertEqual(accounts, ["platform-6", "platform-3", "platform-12"])

    def test_jobs_are_spread_over_all_accounts(self):
        accounts = {settlement.spread("platform", f"job-{n}", 16) for n in range(200)}
        self.assertEqual(len(accounts), 16)


if __name__ == "__main__":
    unittest.main()
