//! The tables that the query DSL reads, as the migrations create them. A test compares them with the database.

diesel::table! {
    /// The journal: one immutable row for each applied operation.
    ledger_entries (account_id, sequence) {
        account_id -> Text,
        sequence -> BigInt,
        entry_type -> SmallInt,
        amount_micro_usd -> BigInt,
        held_delta_micro_usd -> BigInt,
        posted_after -> BigInt,
        held_after -> BigInt,
        create_time -> Timestamptz,
        refunded_sequence -> Nullable<BigInt>,
        reversed_sequence -> Nullable<BigInt>,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Nullable<Binary>,
        external_ids -> Nullable<Array<Text>>,
        reference -> Text,
        metadata -> Nullable<Jsonb>,
        actor -> Nullable<Text>,
        reason -> Nullable<Text>,
        reservation_id -> Nullable<Text>,
        reservation_state -> Nullable<SmallInt>,
        reservation_held -> Nullable<BigInt>,
        reservation_captured -> Nullable<BigInt>,
        uncollected_micro_usd -> Nullable<BigInt>,
        expire_time -> Nullable<Timestamptz>,
        close_time -> Nullable<Timestamptz>,
        expiry_policy -> Nullable<SmallInt>,
        caller -> Nullable<Text>,
        effective_time -> Nullable<Timestamptz>,
        account_state -> Nullable<SmallInt>,
        debt_limit_micro_usd -> Nullable<BigInt>,
        withdrawable_delta_micro_usd -> Nullable<BigInt>,
        withdrawable_after -> Nullable<BigInt>,
        legs -> Nullable<Jsonb>,
        funded_micro_usd -> Nullable<BigInt>,
        source_account_id -> Nullable<Text>,
        source_sequence -> Nullable<BigInt>,
        grant_expire_time -> Nullable<Timestamptz>,
        grant_moves -> Nullable<Jsonb>,
        granted_after -> Nullable<BigInt>,
        lapsed_micro_usd -> Nullable<BigInt>,
    }
}

diesel::table! {
    /// Operations that were refused for a business reason.
    refusals (account_id, idempotency_key) {
        account_id -> Text,
        idempotency_key -> Text,
        fingerprint -> Binary,
        code -> Integer,
        reason -> Text,
        message -> Text,
        metadata -> Jsonb,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    /// Keys answered with the entry of an earlier key.
    external_replays (account_id, idempotency_key) {
        account_id -> Text,
        idempotency_key -> Text,
        fingerprint -> Binary,
        sequence -> BigInt,
        create_time -> Timestamptz,
    }
}
