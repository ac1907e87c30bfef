//! A real browser: Chromium without a window, driven through its driver.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::http::Method;
use fantoccini::{
    Client, ClientBuilder, Locator,
    cookies::Cookie,
    elements::Element,
    error::ErrorStatus,
    wd::{TimeoutConfiguration, WebDriverCompatibleCommand},
};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::support::{process::Lines, shell, waiting::until};

/// How long the browser waits for a page or a script.
const PATIENCE: Duration = Duration::from_secs(30);
/// The size of a window on a desk.
const WIDE: (u32, u32) = (1_200, 900);

/// The browser. It ends when this is dropped, with all of its processes.
pub struct Browser {
    client: Client,
    driver: Child,
}

/// A command that only Chromium's driver knows.
#[derive(Debug)]
struct Devtools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.command, "params": self.parameters }).to_string()))
    }
}

/// Why there can be no browser here, if so.
pub fn missing() -> Option<String> {
    shell::missing(&["chromium", "chromedriver"])
        .map(|missing| format!("{missing} is missing: run `make tools`"))
}

impl Browser {
    /// A new one, with its own empty profile, which runs the scripts of pages or does not.
    pub async fn start(runs_scripts: bool) -> Self {
        let mut command = Command::new("chromedriver");
        command
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut driver = command.spawn().unwrap();
        let said = Lines::of("chromedriver", driver.stdout.take().unwrap());
        let port = |line: &str| {
            Some(line.split_once("started successfully on port ")?.1.trim_end_matches('.').to_owned())
        };
        let (port, _) = said.wait_for(port).expect("the driver starts");
        let scripts = if runs_scripts { 1 } else { 2 };
        let capabilities = json!({ "goog:chromeOptions": {
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"],
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        } });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        let patience = TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), Some(Duration::ZERO));
        client.update_timeouts(patience).await.unwrap();
        let browser = Self { client, driver };
        browser.resize(WIDE).await;
        browser
    }

    async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(Devtools { command, parameters }).await.unwrap()
    }

    /// Gives the page a size.
    pub async fn resize(&self, (width, height): (u32, u32)) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Has pages be light or dark.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Shows pages as they are printed.
    pub async fn print(&self) {
        self.devtools("Emulation.setEmulatedMedia", json!({ "media": "print" })).await;
    }

    /// Opens an address.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Goes back, as by the browser's button.
    pub async fn back(&self) {
        self.client.back().await.unwrap();
    }

    /// Does what leads to another page, and returns once this one is gone.
    async fn leave(&self, click: Element) {
        let page = self.find("html").await;
        click.click().await.unwrap();
        until("the page goes away", async || page.tag_name().await.is_err().then_some(())).await;
    }

    /// Where it is.
    pub async fn url(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// The whole page, as HTML.
    pub async fn source(&self) -> String {
        self.client.source().await.unwrap()
    }

    /// What somebody sees.
    pub async fn text(&self) -> String {
        self.text_of("body").await
    }

    /// The heading of the page.
    pub async fn heading(&self) -> String {
        self.text_of("h1").await
    }

    /// The text of an element; of the next page's, if the page is just going away.
    pub async fn text_of(&self, css: &str) -> String {
        until(css, async || self.client.find(Locator::Css(css)).await.ok()?.text().await.ok()).await
    }

    /// Returns once the page shows a text.
    pub async fn sees(&self, text: &str) {
        until(text, async || self.text().await.contains(text).then_some(())).await;
    }

    /// The element of a selector, once it is there.
    pub async fn find(&self, css: &str) -> Element {
        until(css, async || self.client.find(Locator::Css(css)).await.ok()).await
    }

    /// How many elements a selector has.
    pub async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.unwrap().len()
    }

    /// Types into a field what is to stand there alone.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Chooses an option by its value.
    pub async fn choose(&self, css: &str, value: &str) {
        self.find(css).await.select_by_value(value).await.unwrap();
    }

    /// Clicks what leads to another page.
    pub async fn click(&self, css: &str) {
        self.leave(self.find(css).await).await;
    }

    /// The same of a link with a text.
    pub async fn click_link(&self, text: &str) {
        let link = until(text, async || self.client.find(Locator::LinkText(text)).await.ok()).await;
        self.leave(link).await;
    }

    /// Clicks twice, as fast as a mouse does.
    #[allow(clippy::float_arithmetic, reason = "places on a screen")]
    pub async fn double_click(&self, css: &str) {
        let Some(at) = self.find(css).await.rectangle().await.ok() else { panic!("{css} is nowhere") };
        let (x, y) = (at.0 + at.2 / 2.0, at.1 + at.3 / 2.0);
        for count in 1..=2 {
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": count });
                self.devtools("Input.dispatchMouseEvent", event).await;
            }
        }
    }

    /// What a script of the test's own returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// What a script of the test's own returns at last, through its last argument.
    pub async fn run_async(&self, script: &str) -> Value {
        self.client.execute_async(script, Vec::new()).await.unwrap()
    }

    /// Its cookies.
    pub async fn cookies(&self) -> Vec<Cookie<'static>> {
        self.client.get_all_cookies().await.unwrap()
    }

    /// A picture of the whole page, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    /// How high the whole page is.
    pub async fn height(&self) -> u32 {
        let height = self.run("return document.documentElement.scrollHeight").await;
        height.as_u64().unwrap().try_into().unwrap()
    }

    /// Whether a dialogue of the browser's own is open, which a script would have opened.
    pub async fn has_dialogue(&self) -> bool {
        match self.client.get_alert_text().await {
            Ok(_) => true,
            Err(error) => {
                let fantoccini::error::CmdError::Standard(error) = error else { panic!("{error}") };
                assert_eq!(error.error(), ErrorStatus::NoSuchAlert.to_string());
                false
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.driver), Signal::KILL); // may have ended already
        let _ = self.driver.wait(); // SIGKILL has a bound
    }
}
