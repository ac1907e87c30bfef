//! A ledger with several books is one ledger: made, refused, read, audited and written as such.

use billing::{
    accounting::AccountId,
    audit::Auditor,
    grpc::proto::{ApplyRequest, ChargeRequest, Leg, Operation, operation},
    ledger::LedgerError,
    schema::{self, book_of},
    snapshot::{Selection, Snapshot},
};

use crate::support::{
    process::{Process, billing},
    waiting::{ended, printed, run},
    *,
};

pub const BOOKS: usize = 4;

/// An account of a book.
pub fn account_in(book: usize) -> String {
    let mut names = (0..).map(|n| format!("account-{n}"));
    names.find(|name| book_of(name, BOOKS) == book).unwrap()
}

fn pay(customer: &str, key: &str, micro_usd: i64, provider: &str) -> ChargeRequest {
    let leg = Leg {
        account_id: provider.to_owned(),
        amount_micro_usd: micro_usd,
        entry_type: billing::grpc::proto::EntryType::Earning.into(),
        ..Default::default()
    };
    ChargeRequest { legs: vec![leg], ..charge(customer, key, micro_usd) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_made_with_its_books_once_and_its_number_of_books_is_checked_by_every_command() {
    let ledger = TestBook::create_empty().await;
    let migrate = |flags: &'static [&'static str]| {
        let url = ledger.url.clone();
        async move { billing(&[&["migrate", "--database-url", &url], flags].concat()).await }
    };
    let (_, said) = ended(migrate(&["--books", "65"]).await, 64);
    assert!(said.contains("65 is not in 1..=64"), "{said}");
    let made = printed(migrate(&["--books", "4"]).await);
    assert!(made.contains("20261124000002 of book_00") && made.contains("of book_03"), "{made}");
    for flags in [&["--books", "4"][..], &[]] {
        assert_eq!(printed(migrate(flags).await), "The schema is up to date.\n");
    }
    for flags in [&["--books", "2"][..], &["--books", "1"]] {
        let (_, said) = ended(migrate(flags).await, 1);
        assert!(said.contains("this ledger has 4 of the") && said.contains("billing split"), "{said}");
    }
    let (_, said) = ended(migrate(&["--citus"]).await, 1);
    assert!(said.contains("this database has no Citus"), "{said}");

    // A process that was killed in between has left a book out.
    ledger.run_sql("DROP SCHEMA book_02 CASCADE").await.unwrap();
    let pending = schema::pending_migrations(&ledger.database_url()).await.unwrap();
    assert_eq!(pending, ["2026-11-24-000002_book of book_02"]);
    printed(migrate(&[]).await);
    printed(billing(&["audit", "--database-url", &ledger.url]).await);

    // A later version may spread accounts in another way.
    ledger
        .run_sql("ALTER TABLE billing_books DROP CONSTRAINT billing_books_hash; UPDATE billing_books SET hash = 'md5'")
        .await
        .unwrap();
    for args in [&["audit"][..], &["migrate"], &["books"], &["export", "--format", "csv"]] {
        let output = run(Process::command().args(args).args(["--database-url", &ledger.url]));
        let (_, said) = ended(output, 1);
        assert!(
            said.contains(r#"over 4 books by "md5", which this version does not know"#),
            "{args:?}: {said}"
        );
    }
    let Err(said) = Process::try_serve(&["--database-url", &ledger.url]) else { panic!("it serves") };
    assert!(said.join("\n").contains("which this version does not know"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_find_what_is_in_any_book_and_lists_are_in_order() {
    let ledger = TestBook::with_books(BOOKS).await;
    let server = ledger.serve().await;
    let mut client = server.client().await;
    let mut accounts: Vec<String> = (0..25).map(|n| format!("account-{n}")).collect();
    for account in &accounts {
        let credit = stripe_deposit(account, "order-1", 100, &format!("cs-{account}"));
        client.credit(credit).await.answered();
    }
    accounts.sort();
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            billing::grpc::proto::ListAccountsRequest { page_size: 7, page_token, ..list_accounts("acc") };
        let page = client.list_accounts(request).await.unwrap().into_inner();
        listed.extend(page.accounts.into_iter().map(|account| account.account_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, accounts);
    for account in &accounts {
        let found = client.find_payment(find_payment(&format!("cs-{account}"))).await.unwrap().into_inner();
        assert_eq!(found.entry.unwrap().account_id, *account);
    }
    // One payment, two accounts in two books.
    let other = stripe_deposit(&account_in(0), "order-2", 100, &format!("cs-{}", account_in(1)));
    let (_, text, _) = error(client.credit(other).await);
    assert!(!text.is_empty());
    ledger.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_a_list_stay_in_order_when_some_of_them_pay_into_other_books() {
    let ledger = TestBook::with_books(BOOKS).await;
    let server = ledger.serve().await;
    let mut client = server.client().await;
    let (customer, provider) = (account_in(0), account_in(1));
    client.credit(deposit(&customer, "order-1", 100)).await.answered();
    // Each of them takes all that there is: only the first two can, and only in their order.
    let operations = [
        pay(&customer, "job-1", 60, &provider),
        charge(&customer, "job-2", 40),
        pay(&customer, "job-3", 40, &provider),
        charge(&customer, "job-4", 1),
    ];
    let operations =
        operations.map(|charge| Operation { operation: Some(operation::Operation::Charge(charge)) });
    let applied = client.apply(ApplyRequest { operations: operations.into() }).await.unwrap().into_inner();
    let applied: Vec<bool> = applied
        .results
        .into_iter()
        .map(|result| matches!(result.result, Some(billing::grpc::proto::result::Result::Applied(_))))
        .collect();
    assert_eq!(applied, [true, true, false, false]);
    assert_eq!(available(&mut client, &provider).await, 60);
    ledger.check().await;
}

/// The books are read in sessions of their own, which begin later.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shows_no_book_as_it_stands_later() {
    let ledger = TestBook::with_books(BOOKS).await;
    let server = ledger.serve().await;
    let mut client = server.client().await;
    for book in 0..BOOKS {
        client.credit(deposit(&account_in(book), "order-1", 100)).await.answered();
    }
    let url = ledger.database_url();
    let for_audit = Snapshot::take(&url).await.unwrap();
    let for_export = Snapshot::take(&url).await.unwrap();
    for book in 0..BOOKS {
        let payment = pay(&account_in(book), "job-1", 60, &account_in((book + 1) % BOOKS));
        client.charge(payment).await.answered();
    }
    let (mut auditor, mut found) = (Auditor::default(), Vec::new());
    let observe = |fact| {
        auditor.observe(fact, &mut |difference| found.push(difference));
        Ok::<_, LedgerError>(())
    };
    for_audit.facts(&[], observe).await.unwrap();
    let totals = auditor.finish(&mut |difference| found.push(difference));
    assert_eq!(found, []);
    let mut exported = 0;
    let count = |_, _| {
        exported += 1;
        Ok::<_, LedgerError>(())
    };
    for_export.entries(&Selection::default(), count).await.unwrap();
    assert_eq!((totals.entries, exported), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_and_entries_come_in_the_order_of_accounts_whatever_the_number_of_books() {
    let mut printed_by = Vec::new();
    for books in [1, BOOKS] {
        let ledger = TestBook::with_books(books).await;
        let server = ledger.serve().await;
        let mut client = server.client().await;
        for n in 0..20 {
            client.credit(deposit(&format!("account-{n}"), "order-1", 100)).await.answered();
        }
        let in_each = if books == 1 {
            vec![String::new()]
        } else {
            (0..books).map(|n| format!("book_{n:02}.")).collect()
        };
        for book in in_each {
            ledger.run_sql(&format!("UPDATE {book}accounts SET posted_micro_usd = 99")).await.unwrap();
        }
        let url = &ledger.url;
        let (differences, _) = ended(billing(&["audit", "--json", "--database-url", url]).await, 2);
        let differences: Vec<_> =
            differences.lines().filter(|line| !line.contains("summary")).map(str::to_owned).collect();
        assert_eq!(differences.len(), 20);
        let exported = printed(billing(&["export", "--format", "jsonl", "--database-url", url]).await);
        let account =
            |line: &str| line.split("account-").nth(1).unwrap().split('"').next().unwrap().to_owned();
        printed_by.push((differences, exported.lines().map(account).collect::<Vec<_>>()));
    }
    assert_eq!(printed_by[0], printed_by[1]);
    assert!(printed_by[0].1.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_finds_a_leg_that_is_missing_in_another_book() {
    let ledger = TestBook::with_books(BOOKS).await;
    let server = ledger.serve().await;
    let mut client = server.client().await;
    let (customer, provider) = (account_in(2), account_in(3));
    client.credit(deposit(&customer, "order-1", 100)).await.answered();
    client.charge(pay(&customer, "job-1", 60, &provider)).await.answered();
    printed(billing(&["audit", "--database-url", &ledger.url]).await);
    let damage = "ALTER TABLE book_03.ledger_entries DISABLE TRIGGER ALL; \
                  UPDATE book_03.ledger_entries SET source_sequence = 1";
    ledger.run_sql(damage).await.unwrap();
    let (said, _) = ended(billing(&["audit", "--database-url", &ledger.url]).await, 2);
    assert!(said.contains("LEGS_PAID") && said.contains("LEG_SOURCE"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_rights_of_the_scripts_serves_audits_and_misses_each_that_it_lacks() {
    let ledger = TestBook::with_books(BOOKS).await;
    let roles = concat!(
        include_str!("../../deploy/postgres/service-role.sql"),
        include_str!("../../deploy/postgres/auditor-role.sql")
    );
    let (role, url) = ledger.create_role(roles).await;
    let service = Process::serve(&["--database-url", &url]);
    let mut client = service.client().await;
    let (customer, provider) = (account_in(0), account_in(1));
    client.credit(stripe_deposit(&customer, "order-1", 100, "cs_1")).await.answered();
    client.charge(pay(&customer, "job-1", 60, &provider)).await.answered();
    printed(billing(&["audit", "--database-url", &url]).await);
    for (revoke, named) in [
        ("INSERT ON book_02.refusals", "GRANT INSERT ON book_02.refusals"),
        ("USAGE ON SCHEMA book_01", "GRANT USAGE ON SCHEMA book_01"),
    ] {
        ledger.run_sql(&format!("REVOKE {revoke} FROM {role}")).await.unwrap();
        let Err(said) = Process::try_serve(&["--database-url", &url]) else { panic!("it serves") };
        assert!(said.join("\n").contains(named), "{said:?}");
        ledger.run_sql(&format!("GRANT {revoke} TO {role}")).await.unwrap();
    }
}

#[test]
fn a_book_is_found_by_the_rest_of_a_division() {
    for count in [1, 2, 7, 64] {
        for n in 0..1_000 {
            let name = format!("account-{n}");
            assert!(AccountId::parse("account_id", &name).is_ok());
            assert!(book_of(&name, count) < count);
        }
    }
}
