"""A client of the billing ledger that calls again, with the same key, until it is answered."""

import random
import time
from pathlib import Path

import grpc
from billing.v1 import billing_pb2, billing_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

SERVICE_CONFIG = Path(__file__).parents[2] / "deploy/clients/service-config.json"

# How long one try may take. The service config has a timeout, too, but gRPC's C library does not tell the service of that one, and
# ends it up to two seconds early (grpc/grpc#34547).
TRY_TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
# The largest answer: that of a list of replays can be larger than gRPC accepts by default.
ANSWER_BYTES_MAX = 20 * 1024 * 1024

NOTHING_DONE = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED}
OUTCOME_UNKNOWN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}
# The caller was turned away before its key was looked at.
NOT_LET_IN = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}


class Refused(Exception):
    """The service has answered, and would answer the same call the same."""

    def __init__(self, error: grpc.RpcError):
        super().__init__(f"{error.code().name}: {error.details()}")
        info = _detail(error, error_details_pb2.ErrorInfo)
        self.error = error
        self.code = error.code()
        self.reason = info.reason if info else ""
        self.metadata = dict(info.metadata) if info else {}


class Unsettled(Exception):
    """Not answered in time. It may have been applied: make the same call later, with the same key."""

    def __init__(self, error: grpc.RpcError):
        super().__init__(f"call again with the same key: {error.code().name}: {error.details()}")
        self.error = error
        self.code = error.code()


def connect(target: str, *, token: str | None = None, authority_pem: bytes | None = None) -> grpc.Channel:
    """Connects to all replicas that `target` resolves to, such as `dns:///billing-headless:50051`.

    With `authority_pem`, by TLS. A token without TLS can be read on the way: only where something else encrypts.
    """
    options = [
        ("grpc.service_config", SERVICE_CONFIG.read_text()),
        ("grpc.keepalive_time_ms", 20_000),  # a connection that is dead is noticed
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ]
    if "," in target:  # a list of addresses, which gRPC would send as it is: the service refuses that as a host's name
        options.append(("grpc.default_authority", "billing"))
    if authority_pem is None:
        channel = grpc.insecure_channel(target, options)
        return grpc.intercept_channel(channel, _Bearer(token)) if token else channel
    credentials = grpc.ssl_channel_credentials(authority_pem)
    if token:
        bearer = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, bearer)
    return grpc.secure_channel(target, credentials, options)


class Client:
    """Makes each call until it is answered, or `deadline` seconds have passed."""

    def __init__(self, channel: grpc.Channel, *, deadline: float = 30.0):
        self.stub = billing_pb2_grpc.BillingServiceStub(channel)
        self.deadline = deadline

    def call(self, method: str, request):
        """Calls a method by its name in the contract, always with the same request, and so the same key."""
        answer, _ = self._call(method, request, time.monotonic() + self.deadline)
        return answer

    def _call(self, method: str, request, end: float) -> tuple:
        """The answer, and whether an earlier try may have been carried out."""
        is_unknown = False
        number = 0
        while True:
            timeout = min(TRY_TIMEOUT_SECONDS, end - time.monotonic())
            try:
                return getattr(self.stub, method)(request, timeout=timeout), is_unknown
            except grpc.RpcError as error:
                if error.code() in NOT_LET_IN and is_unknown:
                    raise Unsettled(error) from error
                if error.code() not in NOTHING_DONE | OUTCOME_UNKNOWN:
                    raise Refused(error) from error
                is_unknown |= error.code() in OUTCOME_UNKNOWN
                pause = pause_seconds(number, error)
                if time.monotonic() + pause >= end:
                    raise Unsettled(error) from error
            time.sleep(pause)
            number += 1


    def apply(self, operations: list) -> list:
        """Carries out up to 500 operations, each by itself, and sends those again whose outcome is not known, with the same keys.
        What became of each, in the order of the list: an Applied, or the Refused or Unsettled that a call would have raised."""
        end = time.monotonic() + self.deadline
        parts = [_Part(operation) for operation in operations]
        number = 0
        while unsettled := [part for part in parts if part.is_open]:
            request = billing_pb2.ApplyRequest(operations=[part.operation for part in unsettled])
            try:
                answer, is_unknown = self._call("Apply", request, end)
            except (Refused, Unsettled) as failure:
                for part in unsettled:
                    part.failed(failure)
                break
            for part, result in zip(unsettled, answer.results, strict=True):
                part.is_unknown |= is_unknown
                part.answered(result)
            pause = max((pause_seconds(number, part.result.error) for part in unsettled if part.is_open), default=0.0)
            if time.monotonic() + pause >= end:
                break
            time.sleep(pause)
            number += 1
        return [part.result for part in parts]


def work_is_due(answer) -> bool:
    """Whether to do the work that an operation pays for. After a replay only if nothing of the operation has been given back,
    and its reservation, if it is about one, is still open."""
    if not answer.replayed:
        return True
    has_ended = (
        answer.since.HasField("reservation")
        and answer.since.reservation.state != billing_pb2.RESERVATION_STATE_OPEN
    )
    return answer.since.undone_micro_usd == 0 and not has_ended


def pause_seconds(number: int, error: grpc.RpcError) -> float:
    """What the service asks for, or longer with each try; half of the latter is left to chance."""
    half = min(FIRST_PAUSE_SECONDS * 2 ** min(number, 16), LONGEST_PAUSE_SECONDS) / 2
    retry_info = _detail(error, error_details_pb2.RetryInfo)
    asked = retry_info.retry_delay.ToTimedelta().total_seconds() if retry_info else 0.0
    return max(asked, half) + random.uniform(0, half)


def _detail(error: grpc.RpcError, kind):
    """The detail of a kind that an error of the service carries; None of other errors."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Is(kind.DESCRIPTOR):
            message = kind()
            detail.Unpack(message)
            return message
    return None


class _Part:
    """An operation of a list, and what has become of it so far."""

    def __init__(self, operation):
        self.operation = operation
        self.is_open = True
        self.is_unknown = False  # whether it may have been carried out without an answer
        self.result = None

    def answered(self, result) -> None:
        if result.HasField("applied"):
            self.is_open, self.result = False, result.applied
            return
        error = _PartError(result.error)
        self.is_unknown |= error.code() in OUTCOME_UNKNOWN
        if error.code() in NOTHING_DONE | OUTCOME_UNKNOWN:
            self.result = Unsettled(error)
        else:
            self.failed(Refused(error))

    def failed(self, failure: Refused | Unsettled) -> None:
        is_turned_away = failure.code in NOT_LET_IN and self.is_unknown
        self.is_open, self.result = False, Unsettled(failure.error) if is_turned_away else failure


class _PartError(grpc.RpcError):
    """The error of one operation of a list, in the form of that of a call."""

    def __init__(self, status):
        self.status = status

    def code(self) -> grpc.StatusCode:
        return next(code for code in grpc.StatusCode if code.value[0] == self.status.code)

    def details(self) -> str:
        return self.status.message

    def trailing_metadata(self) -> tuple:
        return (("grpc-status-details-bin", self.status.SerializeToString()),)


class _Bearer(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, token: str):
        self.header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation, details, request):
        metadata = [*(details.metadata or ()), self.header]
        return continuation(_Details(details, metadata), request)


class _Details(grpc.ClientCallDetails):
    def __init__(self, details: grpc.ClientCallDetails, metadata):
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression
