"""Who is paid out of a job: the provider, whoever referred the customer, and the platform, in the capture itself."""

from billing.v1 import billing_pb2

# Of a price, in hundredths. The platform has the rest.
PROVIDER_PERCENT, REFERRER_PERCENT = 80, 5
# Over how many accounts the fees of the platform are spread.
PLATFORM_ACCOUNTS = 16


def legs(job: str, price: int, provider: str, referrer: str = "") -> list[billing_pb2.Leg]:
    """The legs of a job that costs so many micro-USD, the same whenever it is asked: store with the job what it is asked with.
    Rounded here, once. The platform comes last and asks for all of it, so it gets what is left."""
    shares = [
        (provider, price * PROVIDER_PERCENT // 100, billing_pb2.ENTRY_TYPE_EARNING),
        (referrer, price * REFERRER_PERCENT // 100, billing_pb2.ENTRY_TYPE_REFERRAL_REWARD),
        (spread("platform", job, PLATFORM_ACCOUNTS), price, billing_pb2.ENTRY_TYPE_FEE),
    ]
    return [
        billing_pb2.Leg(account_id=payee, amount_micro_usd=micro_usd, entry_type=kind)
        for payee, micro_usd, kind in shares
        if payee and micro_usd > 0
    ]


def spread(account: str, job: str, accounts: int) -> str:
    """The one of so many accounts that a job pays, `<account>-<n>`. The same in every process and language (FNV-1a), since it is
    part of the request: Python's own `hash` is not."""
    hash_ = 0x811C9DC5
    for byte in job.encode():
        hash_ = (hash_ ^ byte) * 0x01000193 % 2**32
    return f"{account}-{hash_ % accounts}"
