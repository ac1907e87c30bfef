"""Takes payments and runs jobs until its standard input ends, then prints how many calls were answered. Ends with an error if
a single one was not. `load.py ipv4:127.0.0.1:50051,127.0.0.1:50052`, or by TLS `load.py localhost:50051 authority.pem`; a token goes
in BILLING_TOKEN."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import job
import webhook
from billing_client import Client, connect

WORKERS = 4
CALLS_PER_ROUND = 6


def work(client: Client, worker: int, is_over: threading.Event) -> int:
    """Payments and jobs, one after the other. Returns how many calls moved or held money."""
    calls = 0
    account = f"account-{worker % 2}"
    while not is_over.is_set():
        name = f"{worker}-{calls}"
        for _ in range(2):  # delivered twice, as Stripe may
            status = webhook.handle(client, payment(account, f"cs_{name}"))
            assert status == 200, status
        job.run(client, account, f"job-{name}", estimate=600_000, parts=[300_000, 350_000])
        job.refund(client, account, f"job-{name}", 100_000)
        calls += CALLS_PER_ROUND
    return calls


def payment(account: str, session: str) -> dict:
    return {
        "data": {
            "object": {
                "id": session,
                "payment_intent": session.replace("cs_", "pi_"),
                "client_reference_id": account,
                "amount_total": 100,
                "currency": "usd",
                "payment_status": "paid",
            }
        }
    }


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
