//! Errors of the database are told apart by their codes: what they say is in the language of its server.

use tonic::Code::{self, Aborted, Internal, Unavailable};

use crate::support::*;

/// Each code, and what becomes of a charge that meets it every time; `None` where it is carried out after it met it once.
const ERRORS: [(&str, Option<(Code, &str)>); 12] = [
    ("40P01", None), // a deadlock
    ("40001", None),
    ("25006", None),                                        // the server takes no writes
    ("57P01", None),                                        // the session was ended
    ("55P03", Some((Aborted, "CONTENTION"))),               // the time for a lock is over
    ("57014", Some((Aborted, "CONTENTION"))),               // the time for a statement is over
    ("53100", Some((Unavailable, "DATABASE_UNAVAILABLE"))), // the disk is full
    ("53300", Some((Unavailable, "DATABASE_UNAVAILABLE"))), // there are too many connections
    ("57P03", Some((Unavailable, "DATABASE_UNAVAILABLE"))), // the server is starting
    ("58030", Some((Unavailable, "DATABASE_UNAVAILABLE"))), // a disk fails
    ("22012", Some((Internal, "INTERNAL"))),
    ("XX001", Some((Internal, "INTERNAL"))),
];

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_told_apart_whatever_language_they_are_in() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
        for (code, told) in ERRORS {
            let times = if told.is_some() { 1_000 } else { 1 };
            let fail = format!(
                "CREATE SEQUENCE failures;
                 CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF nextval('failures') <= {times} THEN
                         RAISE EXCEPTION 'Störung im Betriebsablauf' USING ERRCODE = '{code}';
                     END IF;
                     RETURN NEW;
                 END $$;
                 CREATE TRIGGER fail BEFORE INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION fail()"
            );
            book.run_sql(&fail).await.unwrap();
            let answer = client.charge(charge("ann", &format!("job-{code}"), 1)).await;
            let failures = book.number("SELECT last_value FROM failures").await;
            book.run_sql("DROP FUNCTION fail CASCADE; DROP SEQUENCE failures").await.unwrap();
            match told {
                Some((status, text)) => assert_eq!(reason(answer), (status, text.to_owned()), "{code}"),
                None => assert_eq!((answer.answered().1, failures), (false, 2), "{code}"),
            }
        }
    })
    .await;
}
