"""Takes payments, runs jobs and pays their providers until its standard input ends, then prints how many calls were answered. Ends
with an error if a single one was not. `load.py ipv4:127.0.0.1:50051,127.0.0.1:50052`, or by TLS
`load.py localhost:50051 authority.pem`; a token goes in BILLING_TOKEN."""

import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import job
import settlement
import webhook
from billing.v1 import billing_pb2
from billing_client import Client, connect
from stripe_events import Deposit

WORKERS = 4
CALLS_PER_ROUND = 6


def work(client: Client, worker: int, is_over: threading.Event) -> int:
    """Payments and jobs, one after the other. Returns how many calls moved or held money."""
    calls = 0
    account = f"account-{worker % 2}"
    while not is_over.is_set():
        name = f"{worker}-{calls}"
        for _ in range(2):  # delivered twice, as Stripe may
            status = webhook.handle(client, payment(account, name))
            assert status == 200, status
        of_job = functools.partial(settlement.legs, f"job-{name}", provider=f"provider-{worker}", referrer="referrer")
        job.run(client, account, f"job-{name}", estimate=600_000, parts=[300_000, 350_000], legs=of_job)
        job.refund(client, account, f"job-{name}", 100_000, billing_pb2.LEGS_POLICY_TAKE_BACK)
        calls += CALLS_PER_ROUND
    return calls


def payment(account: str, name: str) -> dict:
    return Deposit(account, name, 100).session()


def main() -> None:
    is_over = threading.Event()
    target, *authority = sys.argv[1:]
    authority_pem = Path(authority[0]).read_bytes() if authority else None
    client = Client(connect(target, token=os.environ.get("BILLING_TOKEN"), authority_pem=authority_pem))
    with ThreadPoolExecutor(WORKERS) as pool:
        done = [pool.submit(work, client, worker, is_over) for worker in range(WORKERS)]
        sys.stdin.read()
        is_over.set()
        print(sum(future.result() for future in done))


if __name__ == "__main__":
    main()
