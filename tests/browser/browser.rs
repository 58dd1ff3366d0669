//! A Chromium with one tab, on a page of a running sidecar. Things are found by what a person sees: the words on a button, the
//! label of a field. Everything waits until it is there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Api, Cluster, Database, Receiver, eventually};
use thirtyfour::prelude::*;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A database, a receiver, a sidecar that serves the page, and a browser on it.
pub struct Visit {
    pub db: Database<'static>,
    pub receiver: Receiver,
    pub api: Api,
    pub browser: Browser,
}

impl Visit {
    /// Nobody has signed in.
    pub async fn begin() -> Visit {
        Visit::begin_in("en").await
    }

    /// With a browser whose language this is.
    pub async fn begin_in(language: &str) -> Visit {
        let db = Cluster::shared().await.database().await;
        let receiver = Receiver::start().await;
        let api = Api::start(&db).await;
        let browser = Browser::open(&format!("http://{}", api.address), language).await;
        Visit { db, receiver, api, browser }
    }

    /// Signed in with a token of this role, on the overview.
    pub async fn signed_in(role: &str) -> Visit {
        let visit = Visit::begin().await;
        let token = visit.db.token("camille", role).await;
        visit.browser.go("/").await;
        visit.browser.sign_in(&token).await;
        visit
    }
}

/// A browser with one page, which ends when this is dropped.
pub struct Browser {
    driver: WebDriver,
    page: String,
    process: Child,
}

impl Browser {
    async fn open(page: &str, language: &str) -> Browser {
        let (process, port) = start_chromedriver();
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        {
            capabilities.add_arg(argument).expect("an argument");
        }
        let preferences = json!({"intl.accept_languages": language});
        capabilities.add_experimental_option("prefs", preferences).expect("an option");
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await;
        Browser { driver: driver.expect("Chromium starts"), page: page.to_owned(), process }
    }

    /// Loads a path of the page, such as `/#/events`.
    pub async fn go(&self, path: &str) {
        // The same document with another fragment would not be loaded again.
        self.driver.goto("about:blank").await.expect("it loads");
        self.driver.goto(format!("{}{path}", self.page)).await.expect("it loads");
        self.wait("something is shown", "return document.querySelector('main h1') !== null").await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.driver.refresh().await.expect("it loads");
        self.wait("something is shown", "return document.querySelector('main h1') !== null").await;
    }

    /// Signs in and waits for the overview.
    pub async fn sign_in(&self, token: &str) {
        self.fill("Token", token).await;
        self.press("Sign in").await;
        self.sees("Sign out").await;
    }

    /// Presses the button or link with these words.
    pub async fn press(&self, words: &str) {
        let words = quoted(words);
        let path = format!("//*[self::button or self::a][normalize-space()={words}]");
        self.click(By::XPath(path), &format!("a button {words}")).await;
    }

    /// Presses the button in the open dialog.
    pub async fn press_in_dialog(&self, words: &str) {
        let path = format!("//dialog//button[normalize-space()={}]", quoted(words));
        self.click(By::XPath(path), &format!("a button {words} in the dialog")).await;
    }

    /// Ticks or chooses what has a label that begins with these words.
    pub async fn tick(&self, words: &str) {
        let path = format!("//label[starts-with(normalize-space(), {})]/input", quoted(words));
        self.click(By::XPath(path), &format!("a choice {words}")).await;
    }

    /// Types into the field with this label, in place of what is there.
    pub async fn fill(&self, label: &str, text: &str) {
        let path = format!("//label[span[@class='label' and normalize-space()={}]]/input", quoted(label));
        self.persist(&format!("a field {label}"), async || {
            let field = self.driver.find(By::XPath(path.clone())).await?;
            field.clear().await?;
            field.send_keys(text).await
        })
        .await;
    }

    /// Chooses an option of the list with this label.
    pub async fn choose(&self, label: &str, option: &str) {
        let path = format!(
            "//label[span[@class='label' and normalize-space()={}]]/select/option[normalize-space()={}]",
            quoted(label),
            quoted(option)
        );
        self.click(By::XPath(path), &format!("{option} in a list {label}")).await;
    }

    /// Waits until these words can be read.
    pub async fn sees(&self, words: &str) {
        self.wait(
            &format!("\"{words}\" is seen"),
            &format!("return document.body.innerText.includes({})", json!(words)),
        )
        .await;
    }

    /// Waits until these words can no longer be read.
    pub async fn sees_no(&self, words: &str) {
        let script = format!("return !document.body.innerText.includes({})", json!(words));
        self.wait(&format!("\"{words}\" is gone"), &script).await;
    }

    /// All that can be read.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().expect("it is text").to_owned()
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        let result = self.driver.execute(script, Vec::new()).await;
        result.unwrap_or_else(|error| panic!("{error}\n{script}")).json().clone()
    }

    /// What a script passes to the function that is its last argument.
    pub async fn run_async(&self, script: &str) -> Value {
        let result = self.driver.execute_async(script, Vec::new()).await;
        result.unwrap_or_else(|error| panic!("{error}\n{script}")).json().clone()
    }

    /// Waits until a script returns true.
    pub async fn wait(&self, what: &str, script: &str) {
        let is_so = eventually(2 * PATIENCE, what, async || {
            let result = self.driver.execute(script, Vec::new()).await;
            result.is_ok_and(|result| result.json() == &Value::Bool(true)).then_some(())
        });
        if timeout(PATIENCE, is_so).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}. The page says:\n{}", self.text().await);
        }
    }

    /// Lays the page out for a window of this width, in light or dark.
    pub async fn look(&self, width: u32, scheme: &str) {
        let tools = self.driver.cdp();
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        tools.send_raw("Emulation.setDeviceMetricsOverride", size).await.expect("Chromium knows it");
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        tools.send_raw("Emulation.setEmulatedMedia", media).await.expect("Chromium knows it");
    }

    /// Keeps what is seen as a file of this name in `target/pictures`.
    pub async fn take_picture(&self, name: &str) {
        let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
        fs::create_dir_all(&pictures).expect("it is ours");
        self.look(1280, "light").await;
        self.driver.screenshot(&pictures.join(format!("{name}.png"))).await.expect("Chromium takes it");
    }

    async fn click(&self, by: By, what: &str) {
        self.persist(what, async || self.driver.find(by.clone()).await?.click().await).await;
    }

    // What is not there yet may come, and what is exchanged while it is looked at is there again.
    async fn persist(&self, what: &str, act: impl AsyncFn() -> WebDriverResult<()>) {
        eventually(PATIENCE, what, async || act().await.ok()).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Nothing is left to say to a driver that is about to be killed.
        let _ = self.driver.clone().leak();
        // With the driver go its browsers, which are in the same group.
        // SAFETY: a system call without memory; the group is that of a child that has not been waited for.
        unsafe { libc::killpg(self.process.id() as i32, libc::SIGKILL) };
        let _ = self.process.wait();
    }
}

/// A chromedriver on a free port, in a process group of its own.
/// It takes a free port, wants the same one of IPv4 and IPv6, and ends where another has that of the one: then once more.
fn start_chromedriver() -> (Child, u16) {
    (0..10).find_map(|_| try_chromedriver()).expect("chromedriver finds a port")
}

fn try_chromedriver() -> Option<(Child, u16)> {
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().expect("chromedriver starts");
    let mut output = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let port = output.find_map(|line| {
        let (_, port) =
            line.ok()?.split_once("started successfully on port ").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        port.trim_end_matches('.').parse().ok()
    });
    // What it says later is nobody's business, but it must not find the pipe full.
    std::thread::spawn(move || output.for_each(drop));
    match port {
        Some(port) => Some((process, port)),
        None => process.wait().map(|_| None).expect("it is our child"),
    }
}

/// A string of XPath, which knows no escapes.
fn quoted(words: &str) -> String {
    assert!(!words.contains('"'));
    format!("\"{words}\"")
}
