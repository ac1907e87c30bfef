//! How the console serves: to this machine alone or by TLS, to a service with TLS, with sessions that replicas share, and what it
//! logs.

use std::{fs, process::Command};

use super::{
    desk::{Desk, console},
    http::get,
    on_a_desk,
    signing_in::signed_in,
};
use crate::support::{
    address::own_ip,
    authority::Authority,
    dir::Dir,
    guarded::Guarded,
    process::Process,
    shell,
    waiting::{self, ended, run},
    *,
};

#[test]
fn it_listens_for_others_by_tls_alone() {
    let mut command = Process::command();
    command.args(["console", "--target", "http://127.0.0.1:1", "--listen", "0.0.0.0:0"]);
    let (_, said) = ended(run(&mut command), 64);
    assert!(said.contains("--listen must be a loopback address, since there is no --tls-cert"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_and_the_service_are_spoken_to_by_tls() {
    if let Some(missing) = shell::missing(&["curl"]) {
        return println!("skipped: {missing} is missing");
    }
    on_a_book(async |book| {
        let guarded = Guarded::serve(&book.url);
        let (dir, authority) = (Dir::new(), Authority::new("of browsers"));
        let issued = authority.issue("localhost");
        let (certificate, key) = (dir.write("c.pem", &issued.certificate), dir.write("k.pem", &issued.key));
        let authority = dir.write("a.pem", &authority.pem());
        let target = format!("https://{}", guarded.target());
        let console = console(&[
            "--target",
            &target,
            "--target-ca",
            &guarded.authority_file,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
        ]);
        let (ip, port) = (own_ip(), console.address.rsplit_once(':').unwrap().1.to_owned());
        let jar = dir.path().join("jar").display().to_string();
        let curl = |arguments: &[&str]| {
            let resolve = format!("localhost:{port}:{ip}");
            let mut curl = Command::new("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--include",
                "--cacert",
                &authority,
                "--resolve",
                &resolve,
            ]);
            curl.args(["--cookie", &jar, "--cookie-jar", &jar]).args(arguments);
            tokio::task::block_in_place(|| waiting::printed(run(&mut curl)))
        };
        let at = |path: &str| format!("https://localhost:{port}{path}");
        let form = curl(&[&at("/sign-in")]);
        assert!(form.contains("__Host-billing-console=") && form.contains("; Secure"), "{form}");
        let form_token =
            form.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let (token, form_token) = (format!("token={}", guarded.token), format!("form_token={form_token}"));
        let signed_in = curl(&[&at("/sign-in"), "--data-urlencode", &token, "--data-urlencode", &form_token]);
        assert!(signed_in.starts_with("HTTP/1.1 303"), "{signed_in}");
        let page = curl(&[&at("/accounts")]);
        assert!(page.contains("checkout") && page.contains("No accounts."), "{page}");
        assert_eq!(
            waiting::printed(run(Command::new("sh").args(["-c", &format!("grep -c '#HttpOnly' {jar}")])))
                .trim(),
            "1"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_one_key_share_sessions_and_others_do_not() {
    on_a_book(async |book| {
        let dir = Dir::new();
        let (one, other) = (dir.write("one", &"1".repeat(32)), dir.write("other", &"2".repeat(32)));
        let desk = Desk::set(book, &["--session-key", &one]);
        let (cookie, _) = signed_in(&desk.console, &desk.reader).await;
        let target = desk.service.url();
        for (key, status) in [(&one, 200), (&other, 303)] {
            let replica = console(&["--target", &target, "--session-key", key]);
            let page = get(&format!("{}/accounts", replica.url()), Some(&cookie), &[]).await;
            assert_eq!(page.status, status, "{page:?}");
        }
        let replica = console(&["--target", &target]);
        let page = get(&format!("{}/accounts", replica.url()), Some(&cookie), &[]).await;
        assert_eq!(page.status, 303, "{page:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_has_a_token_a_session_or_what_a_form_says() {
    on_a_desk(&["--log-level", "trace"], async |_, desk| {
        desk.client().await.credit(desk.call(deposit("ann", "order-1", 5))).await.answered();
        let (cookie, form_token) = signed_in(&desk.console, &desk.admin).await;
        let form = format!("account=ann&key=grant-1&amount=1&reason=s3cret-reason&form_token={form_token}");
        let sent = super::http::post(&desk.at("/act/grant"), Some(&cookie), &form).await;
        assert_eq!(sent.status, 303, "{sent:?}");
        get(&desk.at("/account?id=ann&reference=s3cret-reference"), Some(&cookie), &[]).await;
        let value = cookie.split_once('=').unwrap().1.to_owned();
        let said = desk.console.log().all();
        assert!(
            said.iter().any(|line| line.contains("signed in") && line.contains("caller=\"admin\"")),
            "{said:#?}"
        );
        for secret in [&desk.admin[..], &value, &form_token, "s3cret"] {
            assert!(!said.iter().any(|line| line.contains(secret)), "{secret}: {said:#?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_is_told_to_and_has_answered_what_is_under_way() {
    on_a_desk(&[], async |_, desk| {
        let console = console(&["--target", &desk.service.url()]);
        let health = get(&format!("{}/health", console.url()), None, &[]).await;
        assert_eq!((health.status, health.body.as_str()), (200, "ok"));
        assert!(console.terminate().success());
    })
    .await;
}

#[test]
fn it_has_no_way_to_the_database() {
    let mut command = Process::command();
    let (help, _) = ended(run(command.args(["console", "--help"])), 0);
    assert!(help.contains("--target") && !help.contains("DATABASE_URL"), "{help}");
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/console")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("crate::ledger") && !text.contains("crate::database"), "{}", path.display());
    }
}
