"""A promotion: credit that expires, once for each customer and campaign, and how much is left of it."""

from datetime import UTC, datetime, timedelta

from billing.v1 import billing_pb2
from billing_client import Client

VALID_FOR = timedelta(days=30)
PAGE_SIZE = 100


def grant(client: Client, account: str, campaign: str, micro_usd: int, since: datetime) -> billing_pb2.Entry:
    """Grants so much, for so long since that moment. May be called again: store the moment, such as the sign-up, and do not ask
    the clock, since the expiry is part of the request, and another one under the same key is a mistake."""
    request = billing_pb2.CreditRequest(
        idempotency_key=f"promotion-{campaign}",
        account_id=account,
        amount_micro_usd=micro_usd,
        entry_type=billing_pb2.ENTRY_TYPE_INVITE_CREDIT,
        reference=campaign,
    )
    request.expire_time.FromDatetime(since + VALID_FOR)
    return client.call("Credit", request).entry


def left(client: Client, account: str) -> list[tuple[datetime, int]]:
    """When what is left of each grant expires, the next first, and how much that is in micro-USD: neither spent nor held."""
    grants, request = [], billing_pb2.ListGrantsRequest(account_id=account, page_size=PAGE_SIZE, only_open=True)
    while True:
        page = client.call("ListGrants", request)
        grants.extend(page.grants)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    free = [
        (grant.expire_time.ToDatetime(tzinfo=UTC), grant.remaining_micro_usd - grant.pinned_micro_usd)
        for grant in grants
    ]
    return sorted((expiry, micro_usd) for expiry, micro_usd in free if micro_usd > 0)
