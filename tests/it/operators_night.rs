//! The operator's night: a book is damaged, the audit says which accounts, and the backup is restored, all by the commands of
//! `docs/OPERATIONS.md` as they stand there.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::task::block_in_place;

use crate::{
    random_books,
    support::{
        console::{commands, section, without_times},
        shell::Shell,
        *,
    },
};

const PAGE: &str = include_str!("../../docs/OPERATIONS.md");
const RESTORE: &str = "## Back up and restore";
/// How the commands of that section begin. Each is run here.
const RUN: [&str; 6] =
    ["pg_dump", "pg_restore", "billing audit", "psql", "billing serve", ".tools/bin/grpcurl"];

/// What somebody does to the book in psql, to an account of another part of it each time. Each prints the account.
const DAMAGES: [&str; 4] = [
    "UPDATE accounts SET posted_micro_usd = posted_micro_usd + 1 WHERE account_id =
         (SELECT min(account_id) FROM accounts
          WHERE account_id ~ '-night[0-5]$' AND posted_micro_usd BETWEEN 1 AND 1000)
     RETURNING account_id;",
    "UPDATE ledger_entries SET amount_micro_usd = amount_micro_usd + 1 WHERE (account_id, sequence) =
         (SELECT account_id, sequence FROM ledger_entries
          WHERE account_id ~ '-night[6-9]$' AND amount_micro_usd BETWEEN 1 AND 1000 ORDER BY 1, 2 LIMIT 1)
     RETURNING account_id;",
    "DELETE FROM ledger_entries WHERE (account_id, sequence) =
         (SELECT account_id, sequence FROM ledger_entries JOIN accounts USING (account_id)
          WHERE account_id ~ '-night1.$' AND sequence < last_sequence ORDER BY 1, 2 LIMIT 1)
     RETURNING account_id;",
    "UPDATE reservations SET amount_micro_usd = amount_micro_usd + 1 WHERE (account_id, reservation_id) =
         (SELECT account_id, reservation_id FROM reservations
          WHERE account_id ~ '-night2.$' AND state = 1 ORDER BY 1, 2 LIMIT 1)
     RETURNING account_id;",
];

/// The commands of a section of the page that begin in some way, each with what it prints by the page.
fn of_page(heading: &str, beginning: &str) -> Vec<(String, String)> {
    let mut commands = commands(section(PAGE, heading));
    commands.retain(|(command, _)| command.starts_with(beginning));
    assert!(!commands.is_empty(), "{heading} has no command that begins with {beginning}");
    commands
}

/// Runs such commands, which must print what the page says.
fn run(shell: &mut Shell, heading: &str, beginning: &str) {
    for (command, expected) in of_page(heading, beginning) {
        let printed = block_in_place(|| shell.run(&command));
        assert_eq!(without_times(&printed), without_times(&expected), "$ {command}\n{printed}");
    }
}

/// What the page's audit of a book says, as a table for people or as JSON Lines. It must end with a status.
fn audit(shell: &mut Shell, variable: &str, flags: &str, status: i32) -> String {
    let beginning = format!("billing audit --database-url \"${variable}\"");
    let (command, _) = of_page(RESTORE, &beginning).remove(0);
    let said = block_in_place(|| shell.run(&format!("{command}{flags}; echo \"status $?\"")));
    let end = format!("status {status}\n");
    said.strip_suffix(&end).unwrap_or_else(|| panic!("{command} does not end with {end}{said}")).to_owned()
}

/// How much there is in a book that adds up.
fn totals(shell: &mut Shell, variable: &str) -> Value {
    let mut said: Value = audit(shell, variable, " --json", 0).parse().unwrap();
    let summary = said["summary"].as_object_mut().unwrap();
    for speed in ["elapsed_ms", "entries_per_second"] {
        summary.remove(speed).unwrap();
    }
    said
}

/// Damages the restored book, and returns the accounts that it was done to.
fn damage(shell: &mut Shell) -> BTreeSet<String> {
    let damage = |sql| {
        let sql = format!(
            "ALTER TABLE ledger_entries DISABLE TRIGGER ALL; {sql} ALTER TABLE ledger_entries ENABLE TRIGGER ALL;"
        );
        let account =
            block_in_place(|| shell.run(&format!("psql -qAt \"$RESTORED_URL\" <<'SQL'\n{sql}\nSQL")));
        account.trim().to_owned()
    };
    let accounts: BTreeSet<String> = DAMAGES.map(damage).into();
    assert!(accounts.iter().all(|account| account.contains("-night")), "{accounts:?}");
    assert_eq!(accounts.len(), DAMAGES.len(), "{accounts:?}");
    accounts
}

/// The accounts that the audit finds something in: by the table, and by JSON Lines.
fn found(shell: &mut Shell) -> [BTreeSet<String>; 2] {
    let table = audit(shell, "RESTORED_URL", "", 2);
    let rows = table.lines().skip(1).take_while(|line| !line.is_empty());
    let by_table = rows.map(|row| row.split_whitespace().nth(1).unwrap().to_owned()).collect();
    let json = audit(shell, "RESTORED_URL", " --json", 2);
    let lines = json.lines().map(|line| line.parse::<Value>().unwrap());
    let by_json =
        lines.filter_map(|line| Some(line["difference"]["account_id"].as_str()?.to_owned())).collect();
    [by_table, by_json]
}

/// Takes the entry of an answer as a text, and whether it is a replay. What has happened since depends on when it is asked.
macro_rules! answer {
    ($call:expr) => {{
        let mut answer = $call.await.unwrap().into_inner();
        let replayed = std::mem::take(&mut answer.replayed);
        assert_eq!(answer.since.take().is_some(), replayed);
        (format!("{answer:?}"), replayed)
    }};
}

/// What a call of each method that moves money is answered, and whether it is a replay.
async fn answers(client: &mut Client) -> Vec<(String, bool)> {
    vec![
        answer!(client.credit(stripe_deposit("owner", "stripe-cs_owner", 5_000, "cs_owner"))),
        answer!(client.charge(charge("owner", "job-1", 700))),
        answer!(client.refund(refund("owner", "refund-1", 200, "job-1"))),
        answer!(client.admin_credit(grant("owner", "grant-1", 10))),
        answer!(client.reserve(reserve("owner", "task-1", 300))),
        answer!(client.extend_reservation(extend("owner", "task-1-extend", "task-1", 50))),
        answer!(client.capture(capture("owner", "task-1-capture", "task-1", 320))),
        answer!(client.reserve(reserve("owner", "task-2", 300))),
        answer!(client.release(release("owner", "task-2-release", "task-2"))),
        answer!(client.reserve(reserve("owner", "task-3", 300))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_by_the_audit_and_a_restored_backup_answers_as_the_book_did() {
    for (command, _) in commands(section(PAGE, RESTORE)) {
        assert!(RUN.iter().any(|beginning| command.starts_with(beginning)), "it would not be run: {command}");
    }
    let book = TestBook::create().await;
    random_books::fill(&book, "night").await;
    let mut shell = Shell::new(&book.url, "night").await;
    block_in_place(|| shell.run("billing serve --database-url \"$DATABASE_URL\""));
    run(&mut shell, "### From nothing to a service", ".tools/bin/grpcurl -plaintext -d '{\"idempotency_key");
    let answered = answers(&mut shell.service().client().await).await;
    shell.end_service();
    let original = totals(&mut shell, "DATABASE_URL");

    run(&mut shell, RESTORE, "pg_dump");
    let restored = shell.variable("RESTORED_URL").to_owned();
    shell.set("RESTORED_URL", cluster::create_empty_database("damaged_in_the_night").await);
    run(&mut shell, RESTORE, "pg_restore");
    let damaged = damage(&mut shell);
    assert_eq!(found(&mut shell), [damaged.clone(), damaged]);

    shell.set("RESTORED_URL", restored);
    run(&mut shell, RESTORE, "pg_restore");
    assert_eq!(totals(&mut shell, "RESTORED_URL"), original);
    run(&mut shell, RESTORE, "psql");
    run(&mut shell, RESTORE, "billing serve");
    run(&mut shell, RESTORE, ".tools/bin/grpcurl");
    let replayed = answers(&mut shell.service().client().await).await;
    assert!(answered.iter().all(|(_, replayed)| !replayed) && replayed.iter().all(|(_, replayed)| *replayed));
    let texts = |answers: Vec<(String, bool)>| answers.into_iter().map(|(text, _)| text).collect::<Vec<_>>();
    assert_eq!(texts(replayed), texts(answered));
    shell.end_service();
    check::check_book(shell.variable("RESTORED_URL")).await;
}
