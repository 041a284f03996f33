//! Chromium by its chromedriver: what a person does, and what a person sees.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::command::FormatRequestData;
use thirtyfour::prelude::*;
use thirtyfour::{LoggingPrefsLogLevel, RequestData, SessionId};

use super::process::{Process, signal, until};

const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--hide-scrollbars",
    "--lang=en-US",
];
/// Name in a picture's file, width, height.
const SIZES: [(&str, u32, u32); 2] = [("", 1280, 800), ("-phone", 390, 844)];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// Looks at the page as those do who can't see it well, or not at all: whether everything has a name, whether colours
/// can be told apart (WCAG 2.2 §1.4.3), and whether it fits the window (§1.4.10). Returns what is wrong.
const INSPECTION: &str = r#"
const wrong = [];
if (!document.documentElement.lang) wrong.push('the language is missing');
if (!document.title.trim()) wrong.push('the title is missing');
const shown = (element) => element.checkVisibility();
if ([...document.querySelectorAll('h1')].filter(shown).length !== 1) wrong.push('there isn’t exactly one h1');
if (!document.querySelector('main')) wrong.push('main is missing');
for (const field of document.querySelectorAll('input:not([type=hidden])'))
  if (!field.labels.length) wrong.push(`no label: ${field.outerHTML}`);
for (const image of document.querySelectorAll('img:not([alt])')) wrong.push(`no alt: ${image.outerHTML}`);
for (const image of document.images) if (!image.naturalWidth) wrong.push(`not loaded: ${image.src}`);
for (const button of document.querySelectorAll('button, a'))
  if (!(button.getAttribute('aria-label') || button.textContent).trim()) wrong.push(`no name: ${button.outerHTML}`);
if (document.documentElement.scrollWidth > window.innerWidth) wrong.push('wider than the window');
const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`twice: #${id}`);
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const read = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const luminance = (colour) => colour.slice(0, 3)
  .map((part) => part / 255)
  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const behind = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const colour = read(getComputedStyle(each).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return read('Canvas');
};
for (const element of document.body.querySelectorAll('*')) {
  const speaks = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!speaks || !shown(element) || element.closest('.unseen, script, style, noscript')) continue;
  const [one, two] = [read(getComputedStyle(element).color), behind(element)].map(luminance);
  const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(2)}: ${element.outerHTML.slice(0, 200)}`);
}
return wrong;
"#;

/// One browser with a profile of its own. The parts end in this order.
pub struct Browser {
    driver: WebDriver,
    _chromium: Chromium,
    _chromedriver: Process,
    profile: TempDir,
    pictures: Option<PathBuf>,
}

/// The browser's own process, where the driver names it: it is ended even if its driver can't do so.
struct Chromium {
    id: Option<u32>,
    profile: PathBuf,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        // Only while the id still belongs to the browser with our profile.
        let command = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&*self.profile.to_string_lossy()) {
            signal("KILL", id);
        }
    }
}

/// A command of the DevTools protocol, by way of the driver.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl FormatRequestData for DevTools {
    fn format_request(&self, session: &SessionId) -> RequestData {
        RequestData::new(http::Method::POST, format!("/session/{session}/goog/cdp/execute"))
            .add_body(json!({ "cmd": self.0, "params": self.1 }))
    }
}

#[allow(clippy::disallowed_methods, reason = "where pictures go is said by the environment")]
fn pictures() -> Option<PathBuf> {
    std::env::var_os("KEYWARD_SCREENSHOTS").map(PathBuf::from)
}

impl Browser {
    /// Starts driver and browser.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts them with more flags.
    pub async fn start_with(more: &[&str]) -> Self {
        let profile = tempfile::Builder::new().prefix("keyward-browser-").tempdir().unwrap();
        // Both write below their home folder: that isn't to be the home of whoever runs the tests.
        let mut started = None;
        // It looks for a free port and then takes it: another program may have been quicker.
        for _ in 0..3 {
            let mut command = Command::new("chromedriver");
            let mut chromedriver = Process::start(command.arg("--port=0").env("HOME", profile.path()));
            let port = chromedriver.line(|line| {
                let (_, rest) = line.split_once("started successfully on port ")?;
                rest.trim_end_matches('.').parse::<u16>().ok()
            });
            if let Some(port) = port.await {
                started = Some((chromedriver, port));
                break;
            }
        }
        let (chromedriver, port) = started.expect("chromedriver starts");
        let mut capabilities = DesiredCapabilities::chrome();
        for flag in FLAGS.iter().chain(more) {
            capabilities.add_arg(flag).unwrap();
        }
        capabilities.add_arg(&format!("--user-data-dir={}", profile.path().join("profile").display())).unwrap();
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await.unwrap();
        let id = driver.capabilities().get("goog:processID").and_then(Value::as_u64);
        let chromium = Chromium { id: id.map(|id| u32::try_from(id).unwrap()), profile: profile.path().to_owned() };
        Self { driver, _chromium: chromium, _chromedriver: chromedriver, profile, pictures: pictures() }
    }

    /// Opens an address.
    pub async fn open(&self, address: &str) {
        self.driver.goto(address).await.unwrap();
        self.loaded().await;
    }

    /// The back button.
    pub async fn back(&self) {
        self.driver.back().await.unwrap();
        self.loaded().await;
    }

    /// The forward button.
    pub async fn forward(&self) {
        self.driver.forward().await.unwrap();
        self.loaded().await;
    }

    /// The reload button.
    pub async fn reload(&self) {
        self.driver.refresh().await.unwrap();
        self.loaded().await;
    }

    /// Opens another tab and goes there; returns the tab that was left and the new one.
    pub async fn another_tab(&self) -> (WindowHandle, WindowHandle) {
        let left = self.driver.window().await.unwrap();
        let tab = self.driver.new_tab().await.unwrap();
        self.go_to_tab(&tab).await;
        (left, tab)
    }

    /// Goes to a tab.
    pub async fn go_to_tab(&self, tab: &WindowHandle) {
        self.driver.switch_to_window(tab.clone()).await.unwrap();
    }

    /// Clicks something that changes this page.
    pub async fn click(&self, selector: &str) {
        let clicked = until(async || self.shown(selector).await?.click().await.ok()).await;
        self.found(clicked, selector).await;
    }

    /// Clicks something that leads to another page, and waits for that page.
    pub async fn follow(&self, selector: &str) {
        self.run("window.isLeft = true").await.unwrap();
        self.click(selector).await;
        let arrived =
            until(async || (self.run("return !window.isLeft").await.ok()? == json!(true)).then_some(())).await;
        self.found(arrived, &format!("another page after {selector}")).await;
        self.loaded().await;
    }

    /// Types into a field, in place of what is there.
    pub async fn fill(&self, selector: &str, text: &str) {
        let filled = until(async || {
            let field = self.shown(selector).await?;
            field.clear().await.ok()?;
            field.send_keys(text).await.ok()
        });
        let filled = filled.await;
        self.found(filled, selector).await;
    }

    /// What a field holds.
    pub async fn value(&self, selector: &str) -> String {
        let value = until(async || self.shown(selector).await?.prop("value").await.ok()?).await;
        self.found(value, selector).await
    }

    /// The text of something, once it is shown.
    pub async fn text(&self, selector: &str) -> String {
        let text = until(async || self.shown(selector).await?.text().await.ok()).await;
        self.found(text, selector).await
    }

    /// The text of something, once it has this part.
    pub async fn text_with(&self, selector: &str, part: &str) -> String {
        let text = until(async || self.shown(selector).await?.text().await.ok().filter(|text| text.contains(part)));
        let text = text.await;
        self.found(text, &format!("{part:?} in {selector}")).await
    }

    /// The text of something, read as JSON.
    pub async fn json(&self, selector: &str) -> Value {
        serde_json::from_str(&self.text(selector).await).unwrap()
    }

    /// Whether something is shown right now.
    pub async fn shows(&self, selector: &str) -> bool {
        self.shown(selector).await.is_some()
    }

    /// Which of these is shown first.
    pub async fn first_of(&self, selectors: &[&'static str]) -> &'static str {
        let first = until(async || {
            for selector in selectors {
                if self.shows(selector).await {
                    return Some(*selector);
                }
            }
            None
        });
        let first = first.await;
        self.found(first, &selectors.join(" or ")).await
    }

    /// Makes sure that the page is one of this server.
    pub async fn is_at(&self, origin: &str) {
        let address = self.address().await;
        assert!(address.starts_with(&format!("{origin}/")), "not at {origin}: {}", self.describe().await);
    }

    /// The page's address.
    pub async fn address(&self) -> String {
        self.run("return location.href").await.unwrap().as_str().unwrap().to_owned()
    }

    /// Runs a script in the page.
    pub async fn run(&self, script: &str) -> WebDriverResult<Value> {
        Ok(self.driver.execute(script, Vec::new()).await?.json().clone())
    }

    /// Waits until the page stands, and makes sure that it is one: neither the browser's own error page nor a failure
    /// of a server.
    async fn loaded(&self) {
        let ready =
            until(async || (self.run("return document.readyState").await.ok()? == json!("complete")).then_some(()));
        let ready = ready.await;
        self.found(ready, "the whole page").await;
        let page = self
            .run("return [location.href, performance.getEntriesByType('navigation')[0]?.responseStatus ?? 0]")
            .await
            .unwrap();
        let is_page = page[0].as_str().unwrap().starts_with("http") && page[1].as_u64().unwrap() < 500;
        assert!(is_page, "{page}: {}", self.describe().await);
    }

    /// Address, title and words of the page, for whoever has to find out why a story failed.
    pub async fn describe(&self) -> String {
        let script = "return `${location.href}\n${document.title}\n${document.body?.innerText}`";
        match self.run(script).await {
            Ok(text) => text.as_str().unwrap_or_default().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    async fn shown(&self, selector: &str) -> Option<WebElement> {
        let element = self.driver.find(By::Css(selector)).await.ok()?;
        element.is_displayed().await.ok()?.then_some(element)
    }

    async fn found<T>(&self, found: Option<T>, what: &str) -> T {
        match found {
            Some(found) => found,
            None => panic!("{what} is missing: {}", self.describe().await),
        }
    }

    /// Looks at the page in both colour schemes and both sizes; saves pictures where the environment asks for them.
    pub async fn inspect(&self, name: &str) {
        for scheme in SCHEMES {
            let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            self.dev_tools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
            for (size, width, height) in SIZES {
                self.resize(width, height).await;
                let flaws = self.flaws().await;
                assert_eq!(flaws, json!([]), "{name} {scheme}{size}: {}", self.describe().await);
                if let Some(folder) = &self.pictures {
                    // Once more, for a taller window may make the page itself taller.
                    for _ in 0..3 {
                        let whole = self.run("return document.documentElement.scrollHeight").await.unwrap();
                        self.resize(width, height.max(u32::try_from(whole.as_u64().unwrap()).unwrap())).await;
                    }
                    let picture = self.driver.screenshot_as_png().await.unwrap();
                    std::fs::create_dir_all(folder).unwrap();
                    std::fs::write(folder.join(format!("{name}-{scheme}{size}.png")), picture).unwrap();
                }
            }
        }
        self.dev_tools("Emulation.clearDeviceMetricsOverride", json!({})).await;
        self.dev_tools("Emulation.setEmulatedMedia", json!({ "features": [] })).await;
    }

    /// What an inspection of the page finds wrong: a list of sentences.
    pub async fn flaws(&self) -> Value {
        self.run(INSPECTION).await.unwrap()
    }

    async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.dev_tools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    async fn dev_tools(&self, command: &'static str, parameters: Value) {
        self.driver.cmd(DevTools(command, parameters)).await.unwrap();
    }

    /// What the console holds of errors since it was last asked.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.unwrap();
        entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect()
    }

    /// Closes it. Fails where the console holds an error, but for those that name one of `expected`.
    pub async fn finish(self, expected: &[&str]) {
        let mut complaints = self.complaints().await;
        complaints.retain(|complaint| !expected.iter().any(|part| complaint.contains(part)));
        assert!(complaints.is_empty(), "the console complains: {complaints:#?}");
        self.driver.clone().quit().await.unwrap();
        let Self { _chromium, _chromedriver, profile, .. } = self;
        drop((_chromium, _chromedriver));
        drop(profile);
    }
}
